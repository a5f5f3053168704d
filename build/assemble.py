"""Lay seed_code/common, one variant and checks/ over each other: the repository that a team receives."""

import os
import subprocess
from pathlib import Path
from typing import Any

import tomlkit

from build import ROOT, VARIANTS, VERSION

SEEDS = ROOT / "seed_code"


def assemble(variant: str) -> dict[str, bytes]:
    """The landed files by path, byte for byte, with SEED.

    Its build checks the definition with the same code as the function that runs it. Raises ValueError for an unknown
    variant, and for a path that is in both common/ and the variant.
    """
    if variant not in VARIANTS:
        raise ValueError(f"unknown variant {variant!r}. Choose one of: {', '.join(VARIANTS)}.")
    common, own = tracked(SEEDS / "common"), tracked(SEEDS / variant)
    common |= {f"checks/{name}": content for name, content in tracked(ROOT / "checks").items()}
    if both := sorted(common.keys() & own.keys()):
        raise ValueError(f"in both common/ and {variant}/: {', '.join(both)}. Keep one of them.")
    return dict(sorted({**common, **own, "SEED": describe(variant)}.items()))


def write(files: dict[str, bytes], folder: Path) -> None:
    """Write landed files into a folder that is empty or new. Raises ValueError for one that holds something."""
    if folder.exists() and any(folder.iterdir()):
        raise ValueError(f"{folder} is not empty. Name a new folder.")
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)


def edit_settings(path: Path, change: dict[str, dict[str, Any]]) -> None:
    """Lay values over settings.toml, keeping its comments. Raises ValueError for a section or key it does not have."""
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
    """The files below a folder that git tracks: what lies around there untracked does not land."""
    listed = git("ls-files", "-z", "--", str(folder)).split("\0")
    paths = [ROOT / name for name in listed if name and (ROOT / name).exists()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def describe(variant: str) -> bytes:
    """What SEED says: which bundle a team's repository was made from."""
    return f"variant = {variant}\nversion = {VERSION}\ncommit = {git('rev-parse', 'HEAD').strip()}\n".encode()


def git(*arguments: str) -> str:
    """Ask git about this repository. Raises ValueError where it is none."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}  # as inside a hook
    done = subprocess.run(["git", *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ValueError(f"git {arguments[0]} failed: {done.stderr.strip()}. Work in a clone of the repository.")
    return done.stdout
