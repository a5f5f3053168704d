"""Write a few images as settings.toml describes them, so that the tests pass with your classes too."""

from pathlib import Path
from typing import Any

from PIL import Image


def write_data(folder: Path, settings: dict[str, Any]) -> None:
    """Write one folder per class with different images: dark ones and bright ones."""
    labels = list(settings["data"]["labels"]) or ["dark", settings["data"]["positive"] or "bright"]
    for name, base in ((labels[0], 20), (labels[-1], 200)):
        (folder / name).mkdir()
        for number in range(max(20, settings["data"]["min_examples"])):
            colour = (base + number % 40, base + number // 40 % 40, base + number // 1600)
            Image.new("RGB", (12, 10), colour).save(folder / name / f"{number:02}.png")
