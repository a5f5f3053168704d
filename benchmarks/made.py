"""Data made up for the benchmarks: texts of random words, and pictures as large and as detailed as photographs."""

import csv
import io
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 500, 350


def write_texts(path: Path, rows: int, words: tuple[int, int]) -> Path:
    """Write a CSV of distinct texts, each of so many words, and of two labels."""
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
    """JPEG files without end, no two of them equal, with the detail of `distinct` pictures."""
    chance = np.random.default_rng(1)
    files = [photograph(chance) for _ in range(distinct)]
    number = 0
    while True:
        for file in files:
            number += 1
            yield file + number.to_bytes(4, "big")  # after a JPEG's end: nobody decodes it


def photograph(chance: np.random.Generator) -> bytes:
    """A JPEG of cloudy colours: as in a photograph, the finer a detail, the fainter it is."""
    pixels = np.zeros((HEIGHT, WIDTH, 3))
    for cells in (2, 4, 8, 16, 32, 64, 128):
        noise = chance.normal(scale=120 / cells**0.8, size=(cells, cells, 3)).clip(-127, 127) + 128
        layer = Image.fromarray(noise.astype(np.uint8)).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
        pixels += np.asarray(layer, dtype=np.float64) - 128
    pixels += chance.normal(scale=2, size=pixels.shape)  # of the sensor
    file = io.BytesIO()
    Image.fromarray((pixels + 128).clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=90)
    return file.getvalue()


def write_photographs(folder: Path, count: int, distinct: int = 40) -> Path:
    """Write a folder of pictures in two folders of classes."""
    for name in ("first", "second"):
        (folder / name).mkdir(parents=True)
    for number, file in zip(range(count), photographs(min(count, distinct)), strict=False):
        (folder / ("first", "second")[number % 2] / f"{number:06}.jpg").write_bytes(file)
    return folder
