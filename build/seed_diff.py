"""Print the difference between two versions of a seed as a patch that a team can apply to its repository."""

import subprocess
import tempfile
from pathlib import Path

from build import ROOT
from build.assemble import git


def seed_diff(old: str, new: str, variant: str) -> str:
    """Return the patch of a landed repository between two commits or tags of the bundle, for `git apply --3way`.

    Raise ValueError for an unknown commit, or a variant that a commit does not have.
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
    """Write the repository that a commit of the bundle assembles, with that commit's own code."""
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
