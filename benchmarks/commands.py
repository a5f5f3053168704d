"""Run the commands of the READMEs that take too long for a test, exactly as they are written there.

    .venv/bin/python -m benchmarks.commands rehearse benchmark landed     (make prove ONLY=commands)
    .venv/bin/python -m benchmarks.commands quality --only "make quality"  (make prove ONLY=quality)

Prints a row for each command: its exit status, the minutes it took, and the last line of its output.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.measuring import progress, show  # noqa: E402
from build import VARIANTS  # noqa: E402
from build.assemble import assemble, write  # noqa: E402

# Variables that `make prove ONLY=commands` exports to its recipe. A nested make would take them for its own.
OF_MAKE = ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "MAKEOVERRIDES", "ONLY")
KINDS = ("rehearse", "benchmark", "quality")
# Shorter commands that the test suite runs as they are written: tests/test_readme.py says where.
IN_SUITE = ("make rehearse", "make rehearse TASK=nlp KEEP=1", "make rehearse-down")


def readme_commands(text: str) -> list[str]:
    """Return the `make ...` commands of code blocks and tables, without duplicates, in their order."""
    return list(dict.fromkeys(re.findall(r"(?m)^(?:\| `)?(make[ a-zA-Z0-9=._/\"-]*)(?:`|$)", text)))


def long_commands(kind: str) -> list[str]:
    """Return the README's commands of a kind that no test runs."""
    commands = readme_commands((ROOT / "README.md").read_text())
    return [command for command in commands if command.split()[1] == kind and command not in IN_SUITE]


def landed_commands(variant: str) -> list[str]:
    """Return the commands under "Run it here first" in a landed README.

    Run them in one shell: the first one creates an environment for the others.
    """
    readme = assemble(variant)["README.md"].decode()
    return re.search(r"## Run it here first\n```\n(.*?)```", readme, re.DOTALL).group(1).splitlines()


def run(command: str, folder: Path, name: str = "") -> tuple[str, int, str, str]:
    """Run a command in a folder, with its output copied to standard error.

    Return its name (by default the command itself), exit status, minutes, and the last line of its output.
    """
    clean = {key: value for key, value in os.environ.items() if key not in OF_MAKE}
    clean["PATH"] = f"{clean['PATH']}:{ROOT / '.venv/bin'}"  # for uv, if it is not installed
    started = time.monotonic()
    lines = [""]
    with subprocess.Popen(
        ["bash", "-ec", command], cwd=folder, env=clean, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        for line in process.stdout or ():
            print(line, end="", file=sys.stderr, flush=True)
            lines += [line.strip()] if line.strip() else []
    name = name or f"`{command}`"
    progress(f"{name}: {process.returncode}")
    return name, process.returncode, f"{(time.monotonic() - started) / 60:.1f}", lines[-1][:300].replace("|", "/")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="+", choices=[*KINDS, "landed"])
    parser.add_argument("--only", metavar="COMMAND", help="the one command of these kinds to run")
    arguments = parser.parse_args()
    kinds = arguments.kinds
    commands = [command for kind in kinds if kind != "landed" for command in long_commands(kind)]
    if arguments.only and arguments.only not in commands:
        parser.error(f"the README has no {arguments.only!r}. Choose one of: {', '.join(commands)}.")
    rows = [run(command, ROOT) for command in commands if arguments.only in (None, command)]
    for variant in VARIANTS if "landed" in kinds else ():
        with tempfile.TemporaryDirectory() as folder:
            write(assemble(variant), Path(folder))
            name = f"the first block of a landed {variant} repository's README"
            rows.append(run("\n".join(landed_commands(variant)), Path(folder), name))
    show(("command", "exit status", "minutes", "its last line"), rows)
    return 1 if any(status for _, status, _, _ in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
