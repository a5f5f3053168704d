"""Run the long proofs at full length, and write a section of docs/proofs.md for each, with date, duration and machine.

make prove, or make prove ONLY=deliveries
"""

import argparse
import datetime
import os
import platform
import re
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs/proofs.md"
# Name of the proof -> its module and arguments, and the text above its table in docs/proofs.md.
PROOFS = {
    "interruptions": (
        ["benchmarks.interruptions", "--kills", "200"],
        "Training runs are killed at random moments and their checkpoints damaged in eight ways. Each run has to end "
        "with the weights, bit for bit, of a run that was left alone.",
    ),
    "bad_files": (
        ["benchmarks.bad_files", "--files", "400"],
        "Files of every kind that preprocessing reads are damaged at random. It has to end with splits and a count of "
        "what was left out, or with one line that says what is wrong.",
    ),
    "inputs": (
        ["benchmarks.inputs"],
        "Inputs out of public bug reports, and variants of them. Each has to come out right, or be refused in one line, or "
        "be left out, counted and named.",
    ),
    "mutations": (
        ["benchmarks.mutations", "10000"],
        "Valid pipeline definitions are changed at random in one place. The check has to find it, or it has to be "
        "harmless: the definition still runs on paper, with every request taken by botocore's own validation.",
    ),
    "deliveries": (
        ["benchmarks.deliveries", "10000"],
        "Definitions are pushed, and their events come twice, late, four at a time, with faults of the APIs, to a function "
        "that dies between its calls. The newest version has to run once, with its own definition, and stay.",
    ),
    "permissions": (
        ["benchmarks.permissions"],
        "Every statement of every role is taken away once, and a project has to miss it on its way from the template to "
        "its end. Then every role tries what is none of its business.",
    ),
    "deletes": (
        ["benchmarks.deletes"],
        "Projects are deleted at random moments of their build, run and deployment. Nothing may be left of them.",
    ),
    "strictness": (
        ["benchmarks.strictness"],
        "The emulated AWS is held against recordings of the real one, against the service models and against calls that it "
        "has to refuse; the check of definitions against what others have written.",
    ),
    "kills": (
        ["benchmarks.kills", "24"],
        "Rehearsals are killed with SIGKILL at random moments, their own process, the emulator or both. What ends the next "
        "time has to find every process and folder that was left.",
    ),
    "long_use": (
        ["benchmarks.long_use", "25"],
        "Projects are made, pushed to and deleted, one after the other, in one rehearsal. What it takes of the machine "
        "may not grow with their number.",
    ),
    "commands": (
        ["benchmarks.commands", "rehearse", "benchmark", "landed"],
        "The commands of both READMEs that are longer than a test may be run as they are written.",
    ),
    # One proof for each command, since together they take hours.
    "quality": (
        ["benchmarks.commands", "quality", "--only", "make quality"],
        "Every data set is trained with the default settings and judged beside a plain baseline, by the README's command.",
    ),
    "quality-reviews": (
        ["benchmarks.commands", "quality", "--only", "make quality ONLY=reviews"],
        "MiniLM is fine-tuned on reviews, by the README's command.",
    ),
    "quality-birds": (
        ["benchmarks.commands", "quality", "--only", "make quality ONLY=birds"],
        "A ResNet-18 is trained from scratch on birds, by the README's command.",
    ),
    "quality-mtsamples": (
        ["benchmarks.commands", "quality", "--only", "make quality ONLY=mtsamples-minilm"],
        "MiniLM is fine-tuned on medical reports, by the README's command.",
    ),
}


def machine() -> str:
    """Return the operating system, cores, CPU model and Python version of this machine."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    return f"{platform.system()}, {os.cpu_count()} cores ({model}), Python {platform.python_version()}"


def prove(command: list[str]) -> tuple[int, str, float]:
    """Run one proof, with its progress on standard error; return its exit status, table and seconds."""
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    return done.returncode, done.stdout, time.monotonic() - started


def write(name: str, words: str, table: str, seconds: float, page: Path = PAGE) -> None:
    """Write a proof's section into the page, or replace it, with the sections in the order of PROOFS."""
    text = page.read_text() if page.exists() else ""
    sections = dict(re.findall(r"(?ms)^## ([\w-]+)\n(.*?)(?=^## |\Z)", text))
    took = f"{seconds / 60:.1f} minutes on {datetime.date.today()}: {machine()}."
    sections[name] = f"{words}\n\n{table.strip()}\n\n{took}\n"
    ordered = "".join(f"\n## {known}\n{sections[known].strip()}\n" for known in PROOFS if known in sections)
    page.write_text(f"# Proofs\nWhat `make prove` ran, and what came of it.\n{ordered}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("only", nargs="*", metavar="proof", help=f"of {', '.join(PROOFS)}; all by default")
    arguments = parser.parse_args()
    if unknown := [name for name in arguments.only if name not in PROOFS]:
        parser.error(f"no proof is called {', '.join(unknown)}. Choose one of: {', '.join(PROOFS)}.")
    failed = []
    for name in arguments.only or PROOFS:
        command, words = PROOFS[name]
        print(f"{name}: {words}", flush=True)
        code, table, seconds = prove(command)
        print(table, flush=True)
        write(name, words, table, seconds)
        failed += [name] if code else []
    print(f"failed: {', '.join(failed)}" if failed else f"proved; see {PAGE.relative_to(ROOT)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
