"""The difference between two versions of a landed repository, as a patch that a team can apply to theirs."""

import subprocess
import tempfile
from pathlib import Path

from build import ROOT
from build.assemble import git


def seed_diff(old: str, new: str, variant: str) -> str:
    """The patch from one commit or tag of this repository to another; `git apply --3way` takes it.

    Raises ValueError for what is no commit, and for a variant that there was not.
    """
    with tempfile.TemporaryDirectory() as folder:
        for name, commit in (("a", old), ("b", new)):
            landed(commit, variant, Path(folder) / name)
        done = subprocess.run(
            ["git", "diff", "--no-index", "--no-prefix", "--binary", "--find-renames", "a", "b"],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode > 1:
        raise ValueError(f"git diff failed: {done.stderr.strip()}")
    return done.stdout


def landed(commit: str, variant: str, folder: Path) -> None:
    """Lay a repository out as the bundle of that commit did, by its own rules."""
    name = git("rev-parse", "--verify", "--quiet", f"{commit}^{{commit}}").strip()
    with tempfile.TemporaryDirectory() as clone:
        git("clone", "--quiet", "--shared", "--no-checkout", str(ROOT), f"{clone}/bundle")
        git("-C", f"{clone}/bundle", "checkout", "--quiet", name)
        python = ROOT / ".venv/bin/python"
        done = subprocess.run(
            [str(python), "-m", "build", "assemble", variant, str(folder)],
            cwd=f"{clone}/bundle",
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        raise ValueError(f"{commit}: {done.stderr.strip()}")
