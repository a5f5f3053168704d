"""Kill training again and again, and check that it ends with the same weights as an uninterrupted run.

    .venv/bin/python benchmarks/interruptions.py [--kills 200] [--seed 1]

Each run is train.py's own main() in its own process, on the sample, with augmentation (cv) or length-grouped batching
(nlp). It is killed at random moments by SIGTERM or SIGKILL; after some of the kills the newest checkpoint is damaged.
Prints a row for each variant with 0 and with 2 DataLoader workers.
"""

import argparse
import contextlib
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.forked import Forked  # noqa: E402
from build.assemble import assemble, edit_settings, write  # noqa: E402  (this file is run as a program, too)

# Small models, so that a storm takes minutes. Saving and resuming does not depend on the model.
SMALL = {
    "nlp": {"model": {"name": "distilbert", "config": {"n_layers": 1, "n_heads": 2, "dim": 64, "hidden_dim": 64}}},
    "cv": {
        "model": {"name": "mobilenet_v3_small"},
        "task": {"size": 32, "stored_size": 40, "random_zoom": 0.3, "random_flip": True},
    },
}
EPOCHS = {"nlp": 10, "cv": 3}
SECONDS_BETWEEN_CHECKPOINTS = 1
KILLS_A_RUN = 5
DAMAGES = ("flip", "cut", "empty", "no weights", "no state", "no manifest", "empty folder", "changed state")


@dataclass
class Score:
    """Counts of the runs, kills and damaged checkpoints of one variant and number of workers."""

    runs: int = 0
    identical: int = 0
    signals: Counter[str] = field(default_factory=Counter)
    damages: Counter[str] = field(default_factory=Counter)
    resumed: int = 0


def make_ready(variant: str, workers: int, folder: Path, model: str = "") -> Path:
    """Write a landed repository with a small model, or with `model` at its default size, and preprocess its sample."""
    repository = folder / f"{variant}-{workers}"
    write(assemble(variant), repository)
    training = {
        "workers": workers,
        "checkpoint_seconds": SECONDS_BETWEEN_CHECKPOINTS,
        "epochs": EPOCHS[variant],
        "batch_size": 16,
    }
    chosen = {"model": {"name": model}} if model else SMALL[variant]
    edit_settings(repository / "settings.toml", {**chosen, "training": training})
    run = [sys.executable, "-m", "spotkit.data.preprocess", "--data", "sample", "--output", "prepared"]
    subprocess.run(run, cwd=repository, check=True, stdout=subprocess.DEVNULL)
    return repository


def weights_of(output: Path) -> str:
    """Return a SHA-256 of a run's final weights and of its metadata, which has the learned thresholds."""
    found = hashlib.sha256(next((output / "model").glob("*.safetensors")).read_bytes())
    found.update((output / "model/facts.json").read_bytes())
    return found.hexdigest()


def do_damage(checkpoint: Path, how: str, chance: random.Random) -> None:
    """Damage a checkpoint in one of the ways of DAMAGES."""
    weights = checkpoint / "model.safetensors"
    if how == "flip":
        content = bytearray(weights.read_bytes())
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        weights.write_bytes(content)
    elif how == "cut":
        with weights.open("r+b") as file:
            file.truncate(chance.randrange(weights.stat().st_size))
    elif how == "empty":
        weights.write_bytes(b"")
    elif how == "empty folder":
        shutil.rmtree(checkpoint)
        checkpoint.mkdir()
    elif how == "changed state":
        state = checkpoint / "state.json"
        state.write_text(state.read_text().replace('"step": ', '"step": 1', 1))
    else:
        name = {"no weights": "model.safetensors", "no state": "state.json", "no manifest": "manifest.json"}[how]
        (checkpoint / name).unlink()


def start(trainer: Forked, output: Path) -> int:
    """Start a run, or resume it if it has checkpoints; return the process id."""
    arguments = ["--train", "prepared/train", "--validation", "prepared/validation", "--output", output]
    return trainer.start(arguments, output.with_suffix(".log"))


def storm(repository: Path, kills: int, chance: random.Random, damage: bool, say=lambda line: None) -> Score:
    """Train without interruption, then repeatedly with kills until there were `kills`; return the score.

    A second uninterrupted run gives the duration of a run, and is compared with the first one, too.
    """
    score = Score()
    trainer = Forked(repository, "training.train")
    try:
        alone = repository / "alone"
        start(trainer, alone)
        if code := trainer.wait():
            raise RuntimeError(f"the undisturbed run ended with {code}:\n{alone.with_suffix('.log').read_text()}")
        started = time.monotonic()
        start(trainer, repository / "again")
        trainer.wait()
        seconds = time.monotonic() - started
        expected = weights_of(alone)
        score.runs, score.identical = 1, int(weights_of(repository / "again") == expected)
        while sum(score.signals.values()) < kills:
            output = repository / f"run-{score.runs}"
            killed(
                trainer, output, min(KILLS_A_RUN, kills - sum(score.signals.values())), seconds, chance, damage, score
            )
            score.runs += 1
            score.identical += weights_of(output) == expected
            say(f"{sum(score.signals.values())} of {kills} kills, {score.identical} of {score.runs} runs identical")
            shutil.rmtree(output)
    finally:
        trainer.end()
    return score


def killed(
    trainer: Forked, output: Path, kills: int, seconds: float, chance: random.Random, damage: bool, score: Score
) -> None:
    """Train one run, killing it up to `kills` times, each after 5 % to 80 % of an undisturbed run's `seconds`."""
    done = 0
    while done < kills:
        process = start(trainer, output)
        time.sleep(chance.uniform(0.05, 0.8) * seconds)
        number = chance.choice((signal.SIGTERM, signal.SIGKILL))
        with contextlib.suppress(ProcessLookupError):  # it had already ended
            os.kill(process, number)
        if trainer.wait() == 0:  # it ended before the signal
            break
        done += 1
        score.signals[signal.Signals(number).name] += 1
        found = sorted((output / "checkpoints").glob("step-*"))
        if damage and found and chance.random() < 0.4:
            how = chance.choice(DAMAGES)
            do_damage(found[-1], how, chance)
            score.damages[how] += 1
    else:
        start(trainer, output)
        if code := trainer.wait():
            raise RuntimeError(f"{output.name} ended with {code}:\n{output.with_suffix('.log').read_text()[-3000:]}")
    log = output.with_suffix(".log").read_text()
    score.resumed += log.count("resuming at step")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    chance = random.Random(arguments.seed)
    kinds = [(variant, workers) for variant in ("nlp", "cv") for workers in (0, 2)]
    changed = 0
    print("| variant | loader workers | runs | identical weights | SIGTERM | SIGKILL | damaged | resumed |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for variant, workers in kinds:
            repository = make_ready(variant, workers, Path(folder))
            kills = arguments.kills // len(kinds)
            score = storm(repository, kills, chance, True, lambda line: print(line, file=sys.stderr, flush=True))
            changed += score.runs - score.identical
            signals = f"{score.signals['SIGTERM']} | {score.signals['SIGKILL']}"
            print(
                f"| {variant} | {workers} | {score.runs} | {score.identical} | {signals} "
                f"| {sum(score.damages.values())} | {score.resumed} |",
                flush=True,
            )
    return 1 if changed else 0


if __name__ == "__main__":
    sys.exit(main())
