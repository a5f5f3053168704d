"""Examples as they are read, and as they are prepared: Arrow files that training memory-maps."""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

# A writer, one for each split, keeps one record batch in memory: at most so many rows, and so many bytes of pictures.
ROWS_A_BATCH = 256
BYTES_A_BATCH = 4 * 2**20


@dataclass(frozen=True)
class Example:
    """One example, as `task.read` yields it.

    `key` is equal for examples that must not be in different splits (it is the text itself, or a hash of the pixels).
    `where` names the example in messages (a file, or a file and a line) and is unique.
    """

    key: str
    labels: list[str]
    where: str
    content: Any = field(repr=False)
    note: str = ""  # a remark; the report counts examples by it
    split: str = ""  # train, validation or test, if the data assigns it
    group: str = ""  # a patient, an author: all examples of a group go to one split
    measure: int = 0  # `task.learned` gets the greatest of the training examples


@dataclass(frozen=True)
class Unreadable:
    """What `task.read` or `task.prepare` could not make an example of: it is dropped, counted and named."""

    where: str
    reason: str


@dataclass(frozen=True)
class Skipped:
    """What `task.read` skipped on purpose: neither an example nor an error. It is counted by its reason, and named."""

    where: str
    reason: str


class NothingToRead(ValueError):
    """Raised if there is no file that `task.read` can read. With several instances, one may have received none."""


SPLITS = ("train", "validation", "test")
CALLED = {"train": "train", "training": "train", "val": "validation", "valid": "validation", "dev": "validation",
          "validation": "validation", "test": "test", "testing": "test"}  # fmt: skip
NUMBERED = re.compile(r"[-_.]?\d.*")  # what may follow: train-00000-of-00002, test_1


def given_split(*names: str) -> str:
    """Return the split that a folder or a file (without its suffix) is named after; empty if none.

    If several of the names are splits, the last one counts.
    """
    for name in reversed(names):
        for called, split in CALLED.items():
            rest = name.lower().removeprefix(called)
            if rest == "" or (rest != name.lower() and NUMBERED.fullmatch(rest)):
                return split
    return ""


def hash64(text: str) -> int:
    """Return a 64-bit hash of a text, equal on every machine (BLAKE2b)."""
    return int.from_bytes(hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=8).digest(), "big")


class Writer:
    """Writes prepared rows to an Arrow file: str, bytes of one length, int, float, or lists of ints or floats.

    The file gets its name when all rows are written; after an exception there is no file. `columns` is an example row,
    which sets the types; `about` (classes, problem, the task's settings) is stored in the schema's metadata.
    """

    def __init__(self, path: Path, columns: dict[str, Any], about: dict[str, Any]):
        import pyarrow as pa  # imported here: the endpoint imports this module, and its image may lack pyarrow

        path.parent.mkdir(parents=True, exist_ok=True)
        self.path, self.partial = path, path.with_suffix(".partial")
        self.schema = pa.schema(
            [(name, arrow_type(value)) for name, value in columns.items()],
            {"about": json.dumps(about, sort_keys=True)},
        )
        self.sink = pa.OSFile(str(self.partial), "wb")
        self.file = pa.ipc.new_file(self.sink, self.schema)
        self.waiting: list[dict[str, Any]] = []
        width = sum(len(value) for value in columns.values() if isinstance(value, bytes))
        # Rows of one batch: fewer if their pictures are large.
        self.most = min(ROWS_A_BATCH, BYTES_A_BATCH // max(1, width)) or 1

    def add(self, row: dict[str, Any]) -> None:
        """Add a row; rows are written in batches."""
        self.waiting.append(row)
        if len(self.waiting) == self.most:
            self.flush()

    def flush(self) -> None:
        """Write the rows that are waiting."""
        import pyarrow as pa

        self.file.write_batch(pa.RecordBatch.from_pylist(self.waiting, schema=self.schema))
        self.waiting = []

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, kind: Any, *_: Any) -> None:
        if kind is None and self.waiting:
            self.flush()
        self.file.close()
        self.sink.close()
        if kind is None:
            self.partial.replace(self.path)
        else:
            self.partial.unlink()


def batched(rows: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """Yield lists of `size` rows; the last one may be shorter (itertools.batched needs Python 3.12)."""
    rows = iter(rows)
    while batch := list(islice(rows, size)):
        yield batch


def arrow_type(value: Any) -> Any:
    """Return the Arrow type of a value: text as large strings, pictures as fixed-size binary, an empty list as of ints."""
    import pyarrow as pa

    if isinstance(value, str):
        return pa.large_string()
    if isinstance(value, bytes):
        return pa.binary(len(value))
    if isinstance(value, int):
        return pa.uint64()
    if isinstance(value, float):
        return pa.float64()
    return pa.list_(pa.float64() if value and isinstance(value[0], float) else pa.int32())


class Prepared:
    """The prepared examples of one split, in an order that does not depend on the number of instances."""

    def __init__(self, folder: Path):
        import pyarrow as pa

        parts = sorted(folder.glob("part-*.arrow"))
        if not parts:
            raise FileNotFoundError(f"no part-*.arrow in {folder}. Run preprocess.py first, or give its output folder.")
        try:
            tables = [pa.ipc.open_file(pa.memory_map(str(path))).read_all() for path in parts]
        except pa.ArrowInvalid as error:
            raise ValueError(f"{folder} holds an Arrow file that cannot be read: {error}. Prepare it anew.") from error
        self.table = pa.concat_tables(tables)
        about = json.loads(tables[0].schema.metadata[b"about"])
        self.labels: list[str] = about["labels"]
        self.problem: str = about["problem"]
        self.facts: dict[str, Any] = about["facts"]
        self.order = np.argsort(self.table["id"].to_numpy(), kind="stable")  # example -> row of the table

    def __len__(self) -> int:
        return self.table.num_rows

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.table.slice(int(self.order[index]), 1).to_pylist()[0]

    @cached_property
    def truth(self) -> np.ndarray:
        """Class numbers of shape (n,); for multi_label, zeros and ones of shape (n, classes)."""
        column = self.table["labels"].combine_chunks()
        values = column.flatten().to_numpy()
        if self.problem != "multi_label":
            return values[self.order].astype(np.int64)
        # The row of each of the labels in `values`.
        rows = np.repeat(np.arange(len(self)), column.value_lengths().to_numpy())
        truth = np.zeros((len(self), len(self.labels)), dtype=np.float32)
        truth[rows, values] = 1
        return truth[self.order]

    def in_file_order(self, name: str) -> Iterator[list[Any]]:
        """Yield a column's values in lists, in the order of the files: example i is row `order[i]`."""
        for piece in self.table[name].chunks:
            yield piece.to_pylist()

    def pixels(self, name: str) -> list[np.ndarray]:
        """Return a column of fixed-size bytes as uint8 arrays (rows, bytes), which are views of the mapped files."""
        # buffers()[1] holds the values of a chunk; a slice of an array shares them and starts at its offset.
        return [
            np.frombuffer(piece.buffers()[1], dtype=np.uint8).reshape(-1, piece.type.byte_width)[
                piece.offset : piece.offset + len(piece)
            ]
            for piece in self.table[name].chunks
        ]
