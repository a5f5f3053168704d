"""What src/task.py supplies, and what the package does with it: the seam between a team's code and spotkit.

A task is a module. It has the members of `Task`, and a class `Classifier` with those of `Classifier`, whose datasets have
those of `Dataset`. tests/test_contract.py holds every task against this file.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import torch

from spotkit.data.examples import Example, Prepared, Skipped, Unreadable
from spotkit.settings import Settings

Row = dict[
    str, Any
]  # a prepared example, by column: str, bytes of one length for all rows, int, float, or a list of ints or floats
Batch = dict[str, torch.Tensor]  # the model's inputs; the first dimension is the batch


class Dataset(Protocol):
    """What the model sees of a split: one item per image, or per sequence of tokens (a long text may be several)."""

    lengths: np.ndarray | None  # (items,), tokens per item, for length-grouped batching; None if all are of one size
    owner: np.ndarray  # (items,), the example that each item belongs to

    def __len__(self) -> int: ...

    def batch(self, items: np.ndarray) -> Batch:
        """Return the inputs of some items, given by their numbers: tensors of shape (len(items), ...) on the CPU."""


class Classifier(Protocol):
    """A model with what it needs to read examples: what is trained, evaluated, saved and served."""

    num_draws: ClassVar[int]  # uniform random numbers in [0, 1) per item that `augment` uses; 0: nothing is augmented
    worth_compiling: ClassVar[bool]  # whether [training] compile = "auto" compiles the model for a long run on a GPU
    model: torch.nn.Module
    facts: dict[str, Any]  # metadata saved with the model: "problem", "labels", "task", and "thresholds" once tuned
    problem: str  # binary, multi_class or multi_label
    labels: list[str]  # class names in the order of the logits
    sgd: float  # 0: trained with AdamW; else with SGD and momentum, at this multiple of the learning rate

    @classmethod
    def create(cls, settings: Settings, train: Prepared, pretrained: Path | None) -> "Classifier":
        """Build the model of [model], with pretrained weights from a folder if it is given.

        Raise ValueError for settings that do not go together.
        """

    @classmethod
    def load(cls, folder: Path) -> "Classifier":
        """Load what `save` wrote. Nothing in it may be executed: safetensors and JSON only."""

    def save(self, folder: Path) -> None:
        """Write weights and metadata."""

    def items(self, prepared: Prepared, scratch: Path) -> Dataset:
        """Return a split as the model sees it; `scratch` is a folder for what is computed once."""

    def mapped_items(self, prepared: Prepared, scratch: Path) -> Dataset:
        """Return the same in another process, from what `items` left in `scratch`."""

    def items_of_request(self, rows: list[Row]) -> Dataset:
        """Return the rows of a request as the model sees them. Raise ValueError, naming the row, for an invalid one."""

    def augment(self, batch: Batch, random: torch.Tensor) -> Batch:
        """Return a batch with random changes, decided by `random` (items, num_draws) alone; only with num_draws > 0."""

    def logits(self, model: torch.nn.Module, batch: Batch) -> torch.Tensor:
        """Return logits (items, classes). `model` is self.model, or its compiled or distributed wrapper."""

    def last_layer(self) -> torch.nn.Module:
        """Return what [model] freeze = true trains. Raise ValueError if the model has no layers to freeze."""


class Task(Protocol):
    """The module src/task.py."""

    SETTINGS: dict[str, Any]  # the keys of [task] in settings.toml, with their types
    NOUN: str  # what examples are called in messages and on pages, in the plural: "texts"
    SIZE: str  # what the size of an example counts: "characters"
    Classifier: type[Classifier]

    def read(self, data: Path, settings: Settings) -> Iterator[Example | Unreadable | Skipped]:
        """Yield what is in a file or folder, one at a time and each time in the same order; it is called twice.

        Raise ValueError for data that cannot be used at all, NothingToRead if there is none.
        """

    def identify(self, example: Example, settings: Row) -> Example | Unreadable:
        """Return the example with its `key`, which is equal for equal content. `settings` is [task]."""

    def learned(self, greatest: int) -> dict[str, Any]:
        """Return metadata that `prepare` needs, from the greatest `measure` of the training examples."""

    def prepare(self, example: Example, settings: Row) -> tuple[Row, int] | Unreadable:
        """Return the row to store for an example, and its size in SIZE. `settings` is [task] and what `learned` gave."""

    def note_of(self, row: Row) -> str:
        """Return a remark on a row, by which the report counts rows ("nearly black"); "" for none."""

    def thumbnail_of(self, row: Row, settings: Row) -> np.ndarray | None:
        """Return grey levels (pixels, pixels), uint8, by which lookalikes are found; None if rows have no look."""

    def show(self, row: Row, settings: Row) -> dict[str, Any]:
        """Return what a page shows of a row: {"text": str} or {"png": bytes}."""

    def decode(self, body: bytes, content_type: str) -> list[Row]:
        """Return the rows of a request. Raise ValueError, which becomes status 400."""
