"""Synthetic data for the benchmarks: texts of random words, and images with the size and detail of photographs."""

import csv
import io
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 500, 350


def write_texts(path: Path, rows: int, words: tuple[int, int]) -> Path:
    """Write a CSV of distinct texts with two labels; `words` is the smallest and largest number of words of a text."""
    chance = random.Random(1)
    known = ["".join(chance.choices("etaoinshrdlu", k=chance.randint(2, 9))) for _ in range(5000)]
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("text", "label"))
        for number in range(rows):
            text = " ".join(chance.choices(known, k=chance.randint(*words)))
            writer.writerow((f"{text} {number}", ("good", "bad")[number % 2]))
    return path


def photographs(distinct: int) -> Iterator[bytes]:
    """Yield JPEG files without end, all of different bytes, but of only `distinct` different images."""
    chance = np.random.default_rng(1)
    files = [photograph(chance) for _ in range(distinct)]
    number = 0
    while True:
        for file in files:
            number += 1
            yield file + number.to_bytes(4, "big")  # after the end-of-image marker: decoders ignore it


def photograph(chance: np.random.Generator) -> bytes:
    """Return a JPEG of cloudy colours: noise whose amplitude falls with its spatial frequency, as in a photograph."""
    pixels = np.zeros((HEIGHT, WIDTH, 3))
    for cells in (2, 4, 8, 16, 32, 64, 128):
        noise = chance.normal(scale=120 / cells**0.8, size=(cells, cells, 3)).clip(-127, 127) + 128
        layer = Image.fromarray(noise.astype(np.uint8)).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
        pixels += np.asarray(layer, dtype=np.float64) - 128
    pixels += chance.normal(scale=2, size=pixels.shape)  # sensor noise
    file = io.BytesIO()
    Image.fromarray((pixels + 128).clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=90)
    return file.getvalue()


def write_photographs(folder: Path, count: int, distinct: int = 40) -> Path:
    """Write `count` images into two class folders, and return the folder of both."""
    for name in ("first", "second"):
        (folder / name).mkdir(parents=True)
    for number, file in zip(range(count), photographs(min(count, distinct)), strict=False):
        (folder / ("first", "second")[number % 2] / f"{number:06}.jpg").write_bytes(file)
    return folder
