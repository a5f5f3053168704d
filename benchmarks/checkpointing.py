"""Measure how long training waits for checkpoints, compared with a blocking torch.save.

    .venv/bin/python benchmarks/checkpointing.py [--quick]     (make benchmark ONLY=checkpointing; 1 minute)

A checkpoint holds DistilBERT-base from scratch (66 million parameters) and its AdamW state after one step: 0.8 GB. The
wall time of Training.save is measured, which copies the state and leaves writing to a thread. The thread finishes
before the next save, as in a run, where saves are 60 seconds apart. The share of a run is that of one save in 60
seconds.
"""

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

import torch

from benchmarks import made, seed
from benchmarks.measuring import parse, progress, show

BASE = {"n_layers": 6, "n_heads": 12, "dim": 768, "hidden_dim": 3072, "vocab_size": 30522}
TARGET = 0.01  # of training time


def saved_at_once(training: Any, path: Path) -> None:
    """Save the model and optimizer with torch.save, and return once the file is on the disk."""
    state = {"model": training.classifier.model.state_dict(), "optimizer": training.optimizer.state_dict()}
    with path.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())


def seconds(work: Callable[[], None]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def measure(training: Any, scratch: Path, rounds: int) -> tuple[float, float, float, float]:
    """Measure the seconds that training waits for a save, and the CPU seconds of the writing thread.

    Return the wait at the first save, the median wait at later saves, the median wait of the blocking save, and the
    median CPU seconds of the thread, which competes with training where there is no GPU.
    """
    before = training.saving
    training.save()
    first = training.saving - before
    simple, ours, writing = [], [], []
    for number in range(rounds):
        training.checkpoints.wait()
        before = training.saving
        training.step += 1  # a checkpoint is named after its step
        training.save()
        ours.append(training.saving - before)
        # The main thread only waits here, so process time is the CPU time of the writing thread.
        started = time.process_time()
        training.checkpoints.wait()
        writing.append(time.process_time() - started)
        simple.append(seconds(lambda: saved_at_once(training, scratch / "simple.pt")))
        progress(f"  round {number + 1} of {rounds}: ours {ours[-1]:.3f} s, torch.save {simple[-1]:.3f} s")
    return first, statistics.median(ours), statistics.median(simple), statistics.median(writing)


def main(given: list[str] | None = None) -> None:
    quick = parse(given, __doc__).quick
    changes = {} if quick else {"model": {"name": "distilbert", "config": BASE}}
    with tempfile.TemporaryDirectory() as folder, seed.landed("nlp", changes) as nlp:
        data = made.write_texts(Path(folder) / "texts.csv", 200, words=(3, 10))
        training = seed.training(nlp, seed.prepare(nlp, data))
        parameters = sum(p.numel() for p in training.classifier.model.parameters())
        progress(f"a step of a model with {parameters:,} parameters")
        count, batch = next(training.load(0, 0))
        training.train_on(count, batch)
        first, ours, simple, writing = measure(training, Path(folder), 2 if quick else 7)
        interval = training.chosen["checkpoint_seconds"]

    def row(name: str, found: float, target: str = "") -> tuple[str, ...]:
        return name, f"{found:.3f}", f"{found / simple:.2f}x", f"{found / (interval + found):.2%}", target

    rows = [
        row("torch.save and fsync, waited for", simple),
        row("ours", ours, f"under {TARGET:.0%}"),
        row("ours, the first of a run", first),
    ]
    show(
        (f"{parameters / 1e6:.0f} M parameters", "training waits, s", "ratio", f"share, every {interval} s", "target"),
        rows,
    )
    share = writing / (interval * (os.cpu_count() or 1))
    print(
        f"The writing thread takes {writing:.2f} CPU seconds a checkpoint: {share:.2%} of this machine's "
        f"{os.cpu_count()} cores, which only a model that trains on the CPU misses.",
        flush=True,
    )


if __name__ == "__main__":
    main()
