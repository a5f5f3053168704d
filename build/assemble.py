"""Assemble the repository that a team receives from seed_code/common and one variant."""

import hashlib
import os
import subprocess
from pathlib import Path
from typing import Any

import tomlkit

from build import ROOT, VARIANTS, VERSION
from build.variants import FILE

SEEDS = ROOT / "seed_code"


def assemble(variant: str) -> dict[str, bytes]:
    """Return the files of a landed repository by path, including SEED, which names its origin.

    Raise ValueError for an unknown variant, and for a path that is in both common/ and the variant.
    """
    if variant not in VARIANTS:
        raise ValueError(f"unknown variant {variant!r}. Choose one of: {', '.join(VARIANTS)}.")
    common, own = tracked(SEEDS / "common"), tracked(SEEDS / variant)
    if both := sorted(common.keys() & own.keys()):
        raise ValueError(f"in both common/ and {variant}/: {', '.join(both)}. Keep one of them.")
    files = {**common, **own}
    del files[FILE]
    return dict(sorted({**files, "SEED": describe(variant, files)}.items()))


def write(files: dict[str, bytes], folder: Path) -> None:
    """Write files into an empty or new folder. Raise ValueError if the folder is not empty."""
    if folder.exists() and any(folder.iterdir()):
        raise ValueError(f"{folder} is not empty. Name a new folder.")
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)


def edit_settings(path: Path, change: dict[str, dict[str, Any]]) -> None:
    """Change values of a settings.toml, keeping its comments.

    Raise ValueError for a section or key that it does not have. [model] may get new keys.
    """
    document = tomlkit.parse(path.read_text())
    for section, values in change.items():
        if section not in document or not isinstance(values, dict):
            raise ValueError(f"unknown section [{section}]. The seed's settings.toml has: {', '.join(document)}.")
        for key, value in values.items():
            if key not in document[section] and section != "model":
                known = ", ".join(document[section])
                raise ValueError(f"unknown key [{section}] {key}. The seed's settings.toml has: {known}.")
            document[section][key] = value
    path.write_text(tomlkit.dumps(document))


def tracked(folder: Path) -> dict[str, bytes]:
    """Return the files below a folder that git tracks, by relative path. Untracked files do not belong in a package."""
    listed = git("ls-files", "-z", "--", str(folder)).split("\0")
    paths = [ROOT / name for name in listed if name and (ROOT / name).exists()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def describe(variant: str, files: dict[str, bytes]) -> bytes:
    """Return the content of SEED: the variant, the bundle's version and commit, and SHA-256 of each file of spotkit/."""
    lines = {"variant": variant, "version": VERSION, "commit": git("rev-parse", "HEAD").strip()}
    package = {name: content for name, content in sorted(files.items()) if name.startswith("spotkit/")}
    lines |= {name: hashlib.sha256(content).hexdigest() for name, content in package.items()}
    return "".join(f"{name} = {value}\n" for name, value in lines.items()).encode()


def git(*arguments: str) -> str:
    """Run git in this repository and return its output. Raise ValueError if it fails."""
    # Git sets GIT_DIR and others for its hooks. With these, it would act on the hook's repository.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    done = subprocess.run(["git", *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ValueError(f"git {arguments[0]} failed: {done.stderr.strip()}. Work in a clone of the repository.")
    return done.stdout
