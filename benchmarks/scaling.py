"""Measure how preprocessing scales: ten times the data should take ten times the time and no more memory.

    .venv/bin/python benchmarks/scaling.py [--quick]     (make benchmark ONLY=scaling; 3 minutes)

Runs preprocess.py's own main() in a new process for each size. CPU time is given without and with the start (mostly the
import of PyTorch); peak memory includes the imported libraries.
"""

import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import made
from benchmarks.forked import Forked
from benchmarks.measuring import parse, progress, show
from build.assemble import assemble, edit_settings, write

TIMES = 10
ROWS = {"nlp": 30_000, "cv": 600}
QUICK_ROWS = {"nlp": 300, "cv": 20}
SETTINGS = {"nlp": {}, "cv": {"task": {"size": 224, "stored_size": 256}}}


def write_data(variant: str, folder: Path, rows: int) -> Path:
    """Write `rows` distinct texts or images; return the file or folder."""
    if variant == "nlp":
        return made.write_texts(folder / "texts.csv", rows, words=(10, 60))
    return made.write_photographs(folder / "pictures", rows)


def preprocess(script: Forked, data: Path) -> tuple[float, int]:
    """Preprocess `data`; return the CPU seconds and the peak memory in bytes. Raise RuntimeError if it fails."""
    code, said = script.run(["--data", data, "--output", f"{data}-prepared"], Path(f"{data}-log"))
    if code:
        raise RuntimeError(f"preprocess.py ended with {code}: {said}")
    return script.seconds, script.peak


def start(variant: str, folder: Path) -> Forked:
    """Write a landed repository and return its preprocess.py, imported and ready to run."""
    write(assemble(variant), folder)
    edit_settings(folder / "settings.toml", SETTINGS[variant])
    return Forked(folder, "data.preprocess")


def measure(script: Forked, variant: str, rows: int, folder: Path) -> list[tuple[str, ...]]:
    """Preprocess `rows` rows and TIMES as many; return the two rows of the table."""
    found = []
    for count in (rows, TIMES * rows):
        progress(f"{variant}: making {count:,} rows")
        data = write_data(variant, folder / str(count), count)
        progress(f"{variant}: preprocessing {count:,} rows")
        found.append(preprocess(script, data))
    (once, small), (ten_times, large) = found
    ratio = f"{ten_times / once:.1f}x"
    with_start = f"{(ten_times + script.starting) / (once + script.starting):.1f}x"
    return [
        (variant, f"{rows:,}", f"{once:.1f}", "", "", mebibytes(small), ""),
        (
            variant,
            f"{TIMES * rows:,}",
            f"{ten_times:.1f}",
            ratio,
            with_start,
            mebibytes(large),
            f"{large / small:.2f}x",
        ),
    ]


def mebibytes(count: int) -> str:
    return f"{count / 2**20:,.0f}"


def main(given: list[str] | None = None) -> None:
    sizes = QUICK_ROWS if parse(given, __doc__).quick else ROWS
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        scripts = {variant: start(variant, Path(folder) / variant) for variant in sizes}
        for variant, script in scripts.items():
            rows += measure(script, variant, sizes[variant], Path(folder) / f"{variant}-data")
            script.end()
    rows.append(("target", f"{TIMES}x", "", f"{0.8 * TIMES:g}x to {1.2 * TIMES:g}x", "", "", "1.0x"))
    show(("seed", "rows", "CPU seconds", "ratio", "with starting", "peak MiB", "ratio of peaks"), rows)


if __name__ == "__main__":
    main()
