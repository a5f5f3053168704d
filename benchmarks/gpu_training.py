"""Measure training on a GPU: samples per second, GPU utilisation, and the share of the GPU's bfloat16 peak.

    .venv/bin/python benchmarks/gpu_training.py [--quick]     (make benchmark ONLY=gpu_training; 5 minutes on a GPU)

DistilBERT on tweets and reviews, and ResNet-50 on images, are trained from scratch with train.py's own step. They are
compared with the originals' loops on the same GPU: float32, texts padded to 512 tokens, images decoded in every epoch
by one worker per core. The peak is that of a large matrix multiplication, measured here. FLOPs are counted by PyTorch,
padding included.
"""

import copy
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np
import torch
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import made, seed
from benchmarks.image_input import SETTINGS as PICTURES
from benchmarks.image_input import decoded_every_time
from benchmarks.measuring import parse, progress, show
from benchmarks.text_training import REAL, Fixed

BASE = {"n_layers": 6, "n_heads": 12, "dim": 768, "hidden_dim": 3072}
EPOCHS = 1000  # more than are run, so that the learning rate does not decay to 0
WORKERS, REPEATED = 4, 10  # DataLoader workers; times that an image is seen per epoch
COUNTED, WARMING = 10, 20  # steps
OURS, COMPILED = "ours", "ours, compiled"
TARGETS = {"hate_tweets": "10x", "womens_reviews": "4x"}

Steps = Iterator[int]  # each next() does one training step and returns the number of samples in it


def own(training: Any) -> Steps:
    """Train with train.py's loop, without end."""
    for epoch in itertools.count():
        for count, batch in training.load(epoch, 0):
            training.train_on(count, batch)
            yield count


def without_input(training: Any) -> Steps:
    """Train on the same batch again and again, already augmented and on the device: the speed if input took no time."""
    count, (inputs, labels, random) = next(training.load(0, 0))
    inputs = {name: tensor.to(training.device) for name, tensor in inputs.items()}  # random: (batch, draws)
    if random.shape[1]:
        inputs = training.classifier.augment(inputs, random)
    # Draws of shape (batch, 0): train_on does not augment again.
    batch = inputs, labels.to(training.device), torch.empty(count, 0)
    while True:
        training.train_on(count, batch)
        yield count


def fixed(training: Any) -> Steps:
    """Train with the originals' loop for texts."""
    loop = Fixed(training)
    return (loop.step(0) for _ in itertools.count())


def decoding(training: Any, folder: Path) -> Steps:
    """Train with the originals' loop for images: float32, every image decoded and augmented in every epoch."""
    backbone = copy.deepcopy(training.classifier.model.backbone).train()
    optimizer = torch.optim.AdamW(backbone.parameters())
    while True:
        for images, labels in decoded_every_time(folder, training.arguments.batch_size, os.cpu_count(), REPEATED):
            functional.cross_entropy(backbone(images.to(training.device)), labels.to(training.device)).backward()
            optimizer.step()
            optimizer.zero_grad()
            yield len(images)


def peak() -> float:
    """Return the FLOP/s of a large matrix multiplication in bfloat16."""
    side, times = 8192, 20
    a, b = (torch.randn(side, side, dtype=torch.bfloat16, device="cuda") for _ in range(2))
    rates = []
    for _ in range(5):
        torch.cuda.synchronize()
        started = time.perf_counter()
        for _ in range(times):
            a @ b
        torch.cuda.synchronize()
        # A product of two (n, n) matrices takes n^3 multiplications and as many additions.
        rates.append(times * 2 * side**3 / (time.perf_counter() - started))
    return statistics.median(rates)


def work(steps: Steps) -> float:
    """Return the FLOPs per sample, forward and backward."""
    next(steps)  # the DataLoader workers start here, outside the counter
    with FlopCounterMode(display=False) as counter:
        samples = sum(itertools.islice(steps, COUNTED))
    return counter.get_total_flops() / samples


def speed(steps: Steps, seconds: float) -> tuple[float, float]:
    """Return the samples per second, and the share of time in which the GPU was busy (nvidia-smi, every 200 ms)."""
    for _ in itertools.islice(steps, WARMING):
        pass
    torch.cuda.synchronize()
    ask = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "--loop-ms=200", "--id=0"]
    with subprocess.Popen(ask, stdout=subprocess.PIPE, text=True) as watching:
        started, samples = time.perf_counter(), 0
        while time.perf_counter() - started < seconds:
            samples += next(steps)
        torch.cuda.synchronize()
        rate = samples / (time.perf_counter() - started)
        watching.terminate()
        busy = [int(line) for line in watching.stdout.read().split()]
    return rate, statistics.mean(busy or [0]) / 100


def compare(name: str, ways: dict[str, Steps], target: str, seconds: float) -> list[tuple[str, ...]]:
    """Measure each way to train a model and return the rows of the table. The first way is the originals'."""
    rows, highest, first, operations = [], peak(), 0.0, 0.0
    for way, steps in ways.items():
        progress(f"{name}, {way}")
        if way != COMPILED:  # FlopCounterMode cannot count compiled graphs; the FLOPs are those of the way before
            operations = work(steps)
        rate, busy = speed(steps, seconds)
        progress(f"  {rate:,.0f} a second")
        first = first or rate
        figures = f"{rate:,.0f}", f"{rate / first:.1f}x", f"{busy:.0%}", f"{operations * rate / highest:.0%}"
        rows.append((name, way, *figures, target if way == OURS else ""))
    return rows


def texts(name: str, quick: bool, seconds: float) -> list[tuple[str, ...]]:
    """Measure DistilBERT on one data set; return its rows."""
    if not REAL[name].file.exists():
        return [(f"DistilBERT, {name}", "absent: skipped", "", "", "", "", "")]
    changes = REAL[name].settings(quick) | {"training": {"epochs": EPOCHS, "batch_size": 32, "compile": "never"}}
    changes["model"] = {"name": "distilbert", "config": BASE}
    with seed.landed("nlp", changes) as nlp:
        prepared = seed.prepare(nlp, REAL[name].file)
        training = seed.training(nlp, prepared)
        nlp.chosen["training"]["compile"] = "always"
        ways = {"originals": fixed(training), OURS: own(training), COMPILED: own(seed.training(nlp, prepared))}
        return compare(f"DistilBERT, {name}", ways, TARGETS[name], seconds)


def pictures(quick: bool, seconds: float) -> list[tuple[str, ...]]:
    """Measure ResNet-50 on images of a photograph's size; return its rows."""
    changes = PICTURES | {
        "model": {"name": "resnet50"},
        "training": {"epochs": EPOCHS, "batch_size": 16 if quick else 256, "compile": "never"},
    }
    with tempfile.TemporaryDirectory() as folder, seed.landed("cv", changes) as cv:
        data = made.write_photographs(Path(folder) / "pictures", 400 if quick else 4000)
        prepared = seed.prepare(cv, data)
        training = repeated(seed.training(cv, prepared))
        ways = {
            "originals": decoding(training, data),
            OURS: own(training),
            "ours, input taking no time": without_input(training),
        }
        cv.chosen["training"]["workers"] = WORKERS
        ways[f"ours, {WORKERS} workers"] = own(repeated(seed.training(cv, prepared)))
        cv.chosen["training"]["compile"] = "always"
        ways[COMPILED] = own(repeated(seed.training(cv, prepared)))
        return compare("ResNet-50", ways, "", seconds)


def repeated(training: Any) -> Any:
    """Change a run to see each image REPEATED times per epoch, for epochs as long as a large data set's; return it."""
    items = training.items
    training.items = type(items)(items.chunks, np.tile(items.order, REPEATED), items.stored_size)
    training.truth = np.tile(training.truth, REPEATED)
    return training


def main(given: list[str] | None = None) -> None:
    quick = parse(given, __doc__).quick
    if not torch.cuda.is_available():
        print("There is no GPU on this machine that PyTorch can use: nothing is measured. Run this where there is one.")
        return
    seconds = 1 if quick else 5
    rows = [row for name in TARGETS for row in texts(name, quick, seconds)] + pictures(quick, seconds)
    print(f"{torch.cuda.get_device_name()}, {peak() / 1e12:,.0f} TFLOP/s in bfloat16")
    show(("model and data", "way", "samples/s", "ratio", "GPU busy", "share of the bfloat16 peak", "target"), rows)


if __name__ == "__main__":
    main()
