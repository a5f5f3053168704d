"""The long proofs, whole: storms of kills, of damaged checkpoints and of bad files. Writes docs/proofs.md.

make prove
"""

import argparse
import datetime
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs/proofs.md"
# What is run, what it shows, and the words before its table.
PROOFS = {
    "Interruptions": (
        ["benchmarks/interruptions.py"],
        "Training runs are killed at random moments and their checkpoints damaged in eight ways. Each run has to end "
        "with the weights, bit for bit, of a run that was left alone.",
    ),
    "Bad files": (
        ["benchmarks/bad_files.py"],
        "Files of every kind that preprocessing reads are damaged at random. It has to end with splits and a count of "
        "what was left out, or with one line that says what is wrong.",
    ),
}


def machine() -> str:
    """What this ran on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    return f"{platform.system()}, {os.cpu_count()} cores ({model}), Python {platform.python_version()}"


def prove(command: list[str], options: list[str]) -> tuple[int, str, float]:
    """Run one proof, its progress on standard error; answers exit status, table and seconds."""
    started = time.monotonic()
    done = subprocess.run([sys.executable, *command, *options], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    return done.returncode, done.stdout, time.monotonic() - started


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", default="200")
    parser.add_argument("--files", default="400")
    arguments = parser.parse_args()
    options = {"Interruptions": ["--kills", arguments.kills], "Bad files": ["--files", arguments.files]}
    page = ["# Proofs", "", f"Written by `make prove` on {datetime.date.today()}: {machine()}.", ""]
    failed = []
    for name, (command, words) in PROOFS.items():
        print(f"{name}: {words}", flush=True)
        code, table, seconds = prove(command, options[name])
        print(table, flush=True)
        page += [f"## {name}", words, "", table.strip(), "", f"{seconds / 60:.1f} minutes.", ""]
        failed += [name] if code else []
    PAGE.write_text("\n".join(page))
    print(f"failed: {', '.join(failed)}" if failed else f"proved; see {PAGE.relative_to(ROOT)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
