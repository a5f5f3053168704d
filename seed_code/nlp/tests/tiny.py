"""Write a few texts as settings.toml describes them, so that the tests pass with your columns and labels too."""

import csv
from pathlib import Path
from typing import Any

from spotkit.data.texts import text_columns

WORDS = ("parcel late lost track box", "charge card bill twice refund")


def write_data(folder: Path, settings: dict[str, Any]) -> None:
    """Write data.csv: different texts of two classes, each with words of its own."""
    data, columns = settings["data"], text_columns(settings["task"])
    labels = list(data["labels"]) or ["first", data["positive"] or "second"]
    with (folder / "data.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        several = data["label"] if isinstance(data["label"], list) else []  # one 0/1 column per label
        writer.writerow([*columns, *(several or [data["label"]])])
        for number in range(2 * max(20, data["min_examples"])):
            words = WORDS[number % 2].split()
            label = labels[0] if number % 2 == 0 else labels[-1]
            text = f"{words[number % 5]} {words[(number + 2) % 5]} number {number}"
            given = [int(place % 2 == number % 2) for place in range(len(several))] if several else [label]
            writer.writerow([*[text] * len(columns), *given])
