"""Measure the input pipeline for images, compared with decoding and augmenting every image in every epoch with PIL.

    .venv/bin/python benchmarks/image_input.py [--quick]     (make benchmark ONLY=image_input; 1 minute)

One thread, CPU time, JPEGs of 500 x 350 to 224 x 224. Ours: what preprocess.py wrote, through train.py's batches and
task.py's augmentation. The originals: torchvision's ImageFolder with RandomResizedCrop, flip, ToTensor and Normalize.
"""

import sys
import tempfile
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

import torch
from torch.utils.data import ConcatDataset, DataLoader
from torchvision import datasets, transforms

from benchmarks import made, seed
from benchmarks.measuring import items_a_second, parse, progress, show

SIZE, STORED = 224, 256
BATCH = 32
TARGET, PREPARING_TARGET = 15, 300
SETTINGS = {
    "task": {"size": SIZE, "stored_size": STORED, "random_zoom": 0.3, "random_flip": True},
    "model": {"name": "resnet18"},
}


def decoded_every_time(folder: Path, batch_size: int = BATCH, workers: int = 0, repeated: int = 1) -> DataLoader:
    """Return the originals' DataLoader of images and labels, with each image `repeated` times per epoch."""
    augmentation = transforms.Compose(
        [
            transforms.RandomResizedCrop(SIZE),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )
    pictures = ConcatDataset([datasets.ImageFolder(str(folder), augmentation)] * repeated)
    return DataLoader(pictures, batch_size=batch_size, shuffle=True, num_workers=workers)


class Ours:
    """Our input pipeline: train.py's batches, and what is done with them before the first layer."""

    def __init__(self, cv: SimpleNamespace, prepared: Path):
        self.cv = cv
        self.split = cv.examples.Prepared(prepared / "train")
        self.classifier = cv.task.Classifier.create(cv.chosen, self.split, None)
        self.items = self.classifier.items(self.split, cv.folder)
        self.normalise = cv.task.Network(torch.nn.Identity())  # uint8 to normalised floats, without a backbone

    def batches(self, epoch: int) -> Iterator[tuple[dict[str, torch.Tensor], Any, torch.Tensor]]:
        """Yield an epoch's batches as train.py does: inputs, labels, and random draws of shape (batch, draws)."""
        order = self.cv.train.batches_of_epoch(len(self.items), None, BATCH, 1, epoch)
        draws = {"seed": 1, "epoch": epoch, "count": self.classifier.num_draws}
        group = self.cv.distributed.Group()
        batches = self.cv.train.Batches(self.items, self.split.truth, order, group, **draws)
        return iter(DataLoader(batches, batch_size=None))

    def load(self, round_: int) -> int:
        """Load one epoch and return its number of images: the part that the CPU does even if there is a GPU."""
        return sum(len(random) for _, _, random in self.batches(round_))

    def augmented(self, zoom: float, normalised: bool = False) -> Callable[[int], int]:
        """Return a way that loads and augments one epoch, and if `normalised` normalises it as our model does."""

        def way(round_: int) -> int:
            self.classifier.facts["task"]["random_zoom"] = zoom
            count = 0
            for inputs, _, random in self.batches(round_):
                images = self.classifier.augment(inputs, random)["images"]
                count += len(self.normalise(images) if normalised else images)
            return count

        return way


def preparing(cv: SimpleNamespace, folder: Path, count: int) -> Callable[[int], int]:
    """Return a way that decodes and resizes `count` images, as preprocessing does once."""
    found = list(islice(cv.task.read(folder, cv.chosen), count))
    return lambda round_: sum(isinstance(cv.task.prepare(one, cv.chosen["task"]), tuple) for one in found)


def measure(folder: Path, pictures: int, rounds: int) -> dict[str, float]:
    """Return the images per second of every way."""
    with seed.landed("cv", SETTINGS) as cv:
        ours, loader = Ours(cv, seed.prepare(cv, folder)), decoded_every_time(folder)
        batches = max(1, pictures // 2 // BATCH)
        ways = {
            "originals": lambda round_: sum(len(labels) for _, labels in islice(loader, batches)),
            "zoom 0": ours.augmented(0.0),
            "zoom 0.3": ours.augmented(0.3),
            "zoom 0.3, normalised": ours.augmented(0.3, normalised=True),
            "host": ours.load,
            "prepare": preparing(cv, folder, pictures // 2),
        }
        return items_a_second(ways, rounds)


def main(given: list[str] | None = None) -> None:
    quick = parse(given, __doc__).quick
    torch.set_num_threads(1)
    pictures = 64 if quick else 800
    with tempfile.TemporaryDirectory() as folder:
        progress(f"making {pictures} pictures")
        rate = measure(made.write_photographs(Path(folder) / "pictures", pictures), pictures, 1 if quick else 7)
    naive = rate["originals"]

    def row(name: str, key: str, target: str = "") -> tuple[str, ...]:
        return name, f"{rate[key]:,.0f}", f"{rate[key] / naive:.1f}x", target

    rows = [
        row("originals: open, decode, augment, normalise", "originals"),
        row("ours, random_zoom = 0", "zoom 0", f"{TARGET}x"),
        row("ours, random_zoom = 0.3", "zoom 0.3", f"{TARGET}x"),
        row("ours, random_zoom = 0.3, and normalised", "zoom 0.3, normalised"),
        row("ours, the part of the host beside a GPU", "host"),
        row("preprocessing, once", "prepare", f"{PREPARING_TARGET} images/s"),
    ]
    show(("way", "images/s a core", "ratio", "target"), rows)
    shares = ", ".join(f"{rate[key] / rate['host']:.0%} with {key}" for key in ("zoom 0", "zoom 0.3"))
    print(f"Share of the time that is the host's part where augmentation runs on a GPU: {shares}.", flush=True)


if __name__ == "__main__":
    main()
