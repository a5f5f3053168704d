"""Examples, as they are read and as they are prepared: one Arrow file a split, mapped into memory by training."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any

FILE = "examples.arrow"
ROWS_A_BATCH = 1024


@dataclass(frozen=True)
class Example:
    """One example as `task.read` finds it.

    `key` is equal for examples that must not stand on both sides of a split (the text itself, the picture's bytes);
    `where` is what an error message calls it (a file, or a file and a line).
    """

    key: str
    labels: list[str]
    where: str
    content: Any = field(repr=False)


def write(folder: Path, rows: Iterable[dict[str, Any]], labels: list[str], problem: str, facts: dict[str, Any]) -> int:
    """Write prepared rows (str, bytes of one length, or lists of class numbers) and return how many there were.

    `labels` (class names in the order of their numbers), `problem` and the task's `facts` travel in the schema.
    """
    folder.mkdir(parents=True, exist_ok=True)
    metadata = {"about": json.dumps({"labels": labels, "problem": problem, "facts": facts}, sort_keys=True)}
    import pyarrow as pa  # here: the endpoint serves with task.py, and its image may lack pyarrow

    rows = iter(rows)
    first = next(rows, None)
    if first is None:
        raise ValueError(f"nothing to write to {folder.name}: the data holds too few examples to be split.")
    schema = pa.schema([(name, arrow_type(value)) for name, value in first.items()], metadata)
    count = 0
    with pa.OSFile(str(folder / FILE), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        for batch in batched(chain([first], rows), ROWS_A_BATCH):
            writer.write_batch(pa.RecordBatch.from_pylist(batch, schema=schema))
            count += len(batch)
    return count


def batched(rows: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """Lists of `size` rows, the last one shorter (itertools.batched came with Python 3.12)."""
    rows = iter(rows)
    while batch := list(islice(rows, size)):
        yield batch


def arrow_type(value: Any) -> Any:
    """Text as large strings, pictures as bytes of a fixed length, labels as lists of class numbers."""
    import pyarrow as pa

    if isinstance(value, str):
        return pa.large_string()
    if isinstance(value, bytes):
        return pa.binary(len(value))
    return pa.list_(pa.int32())


class Prepared:
    """The prepared examples of one split, read from the mapped file one at a time: a PyTorch map-style dataset."""

    def __init__(self, folder: Path):
        import pyarrow as pa

        path = folder / FILE
        if not path.exists():
            raise FileNotFoundError(f"{path} not found. Run preprocess.py first, or give its output folder.")
        self.table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
        about = json.loads(self.table.schema.metadata[b"about"])
        self.labels: list[str] = about["labels"]
        self.problem: str = about["problem"]
        self.facts: dict[str, Any] = about["facts"]

    def __len__(self) -> int:
        return self.table.num_rows

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {name: self.table[name][index].as_py() for name in self.table.column_names}
