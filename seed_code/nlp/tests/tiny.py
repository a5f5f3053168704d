"""A few texts in the shape that settings.toml describes, so that the tests hold for your columns and labels too."""

import csv
from pathlib import Path
from typing import Any

import task

WORDS = ("parcel late lost track box", "charge card bill twice refund")


def write_data(folder: Path, settings: dict[str, Any]) -> None:
    """Write data.csv: 40 different texts of two classes, one of which is named by the words it holds."""
    data, columns = settings["data"], task.text_columns(settings["task"])
    labels = list(data["labels"]) or ["first", data["positive"] or "second"]
    with (folder / "data.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*columns, data["label"]])
        for number in range(40):
            words = WORDS[number % 2].split()
            label = labels[0] if number % 2 == 0 else labels[-1]
            text = f"{words[number % 5]} {words[(number + 2) % 5]} number {number}"
            writer.writerow([*[text] * len(columns), label])
