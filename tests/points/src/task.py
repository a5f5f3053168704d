"""Classification of rows of numbers: what a row is, how the model is built, how a batch is made."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from spotkit.data import tables
from spotkit.data.examples import Example, Prepared, Skipped, Unreadable
from spotkit.serving import media

SETTINGS = {"columns": list}
NOUN, SIZE = "rows", "numbers"


def read(data: Path, settings: dict[str, Any]) -> Iterator[Example | Unreadable | Skipped]:
    columns = settings["task"]["columns"]
    needed = tables.columns_needed(dict.fromkeys(columns, "[task] columns"), settings["data"])
    for table in tables.find(data):
        if not isinstance(table, tables.Table):
            yield table
            continue
        for row in tables.rows(table, needed, settings["data"]["columns"]):
            yield example_of(row, columns, settings["data"]) if isinstance(row.content, dict) else row.content


def example_of(row: tables.Row, columns: list[str], data: dict[str, Any]) -> Example | Unreadable:
    try:
        values = numbers(row.content, columns)
        return Example(repr(values), tables.labels_of(row.content, data["label"], False), row.where, values, row.note)
    except ValueError as error:
        return Unreadable(row.where, str(error))


def numbers(row: dict[str, Any], columns: list[str]) -> list[float]:
    return [float(row[name]) for name in columns]


def identify(example: Example, settings: dict[str, Any]) -> Example:
    return example


def learned(greatest: int) -> dict[str, Any]:
    return {}


def prepare(example: Example, settings: dict[str, Any]) -> tuple[dict[str, Any], int]:
    return {"values": example.content}, len(example.content)


def note_of(row: dict[str, Any]) -> str:
    return ""


def thumbnail_of(row: dict[str, Any], settings: dict[str, Any]) -> None:
    return None


def show(row: dict[str, Any], settings: dict[str, Any]) -> dict[str, str]:
    return {"text": ", ".join(f"{value:.2f}" for value in row["values"])}


def decode(body: bytes, content_type: str) -> list[dict[str, Any]]:
    return media.rows_made(body, media.parse(content_type), dict, 'the request is not {"inputs": [{...}]}')


class Rows:
    lengths = None

    def __init__(self, values: np.ndarray):
        self.values, self.owner = torch.from_numpy(values), np.arange(len(values))

    def __len__(self) -> int:
        return len(self.owner)

    def batch(self, items: np.ndarray) -> dict[str, torch.Tensor]:
        return {"values": self.values[items]}


class Classifier:
    num_draws, sgd, worth_compiling = 0, 0.0, False

    def __init__(self, facts: dict[str, Any]):
        self.facts, self.problem, self.labels = facts, facts["problem"], facts["labels"]
        layers = (
            torch.nn.Linear(len(facts["task"]["columns"]), 16),
            torch.nn.ReLU(),
            torch.nn.Linear(16, len(self.labels)),
        )
        self.model = torch.nn.Sequential(*layers)

    @classmethod
    def create(cls, settings: dict[str, Any], train: Prepared, pretrained: Path | None) -> "Classifier":
        return cls({"problem": train.problem, "labels": train.labels, "task": settings["task"]})

    def items(self, prepared: Prepared, scratch: Path) -> Rows:
        found = np.array([values for batch in prepared.in_file_order("values") for values in batch], dtype=np.float32)
        return Rows(found[prepared.order])

    mapped_items = items

    def items_of_request(self, rows: list[dict[str, Any]]) -> Rows:
        found = media.one_by_one(rows, lambda row: numbers(row, self.facts["task"]["columns"]))
        return Rows(np.array(found, dtype=np.float32))

    def last_layer(self) -> torch.nn.Module:
        return self.model[-1]

    def logits(self, model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        return model(batch["values"])

    def save(self, folder: Path) -> None:
        save_file(self.model.state_dict(), folder / "model.safetensors")
        (folder / "facts.json").write_text(json.dumps(self.facts))

    @classmethod
    def load(cls, folder: Path) -> "Classifier":
        made = cls(json.loads((folder / "facts.json").read_text()))
        made.model.load_state_dict(load_file(folder / "model.safetensors"))
        return made
