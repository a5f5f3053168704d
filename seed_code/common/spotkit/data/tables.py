"""Tables of rows in files: CSV and its kin, JSON, Parquet; compressed, in archives, in folders.

Errors are reported by line: a quote that opens and never closes, a row with too many values, a header in the middle.
Rows are read one at a time, so files may be larger than memory; only Parquet in an archive is read completely.
"""

import ast
import codecs
import contextlib
import csv
import gzip
import io
import json
import math
import re
import zipfile
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO
from urllib.parse import unquote

from spotkit.data.examples import Skipped, Unreadable, given_split

DELIMITED = {".csv": ",", ".tsv": "\t"}
JSON = (".json", ".jsonl", ".ndjson")
SUFFIXES = (*DELIMITED, *JSON, ".parquet")
DELIMITERS = (",", ";", "\t", "|")
# Folders that operating systems and tools create beside data.
JUNK = ("__MACOSX", "_delta_log", "_temporary")
# Byte order marks. UTF-32 is before UTF-16, whose mark is the beginning of UTF-32's.
MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
NOT_UTF8 = "not UTF-8. Is it in cp1252, as Excel writes it? Save the file as UTF-8"
MAX_LINES = 10_000  # of one record; with more, its quote is taken for one that never closes
LIKE_ROWS = 3  # if so many quoted lines look like rows, the quote closed by chance
MANY_LINES = 50  # of one record; with more, it gets a note
ROWS_A_BATCH = 1024
KNOWN_AFTER = 1000  # rows; a column that none of them has is reported as missing
PIECE = 1 << 16  # characters that are read at a time
# RuntimeError: a member with a password, or (NotImplementedError) a compression that Python does not support.
BROKEN_ARCHIVE = (EOFError, zipfile.BadZipFile, RuntimeError, zlib.error)
csv.field_size_limit(2**31 - 1)  # texts may be long; [task] max_characters cuts them


@dataclass(frozen=True)
class Table:
    """A file with rows: its name in messages, its kind (a suffix), and a function that opens it."""

    name: str
    kind: str
    open: Callable[[], BinaryIO]
    path: Path | None = None
    partitions: dict[str, str | None] = field(default_factory=dict)

    @property
    def split(self) -> str:
        """The split that the file, or a folder above it, is named after; empty if none."""
        return given_split(*(part.split(".")[0] for part in PurePosixPath(self.name).parts))


# --- files -----------------------------------------------------------------------------------------------------------


def shown(path: Path) -> str:
    """Return a path as text that can be printed and encoded, with bytes that are not UTF-8 replaced."""
    return str(path).encode(errors="replace").decode()


def kind_of(name: str) -> str:
    """Return the suffix that tells a file's format, without that of its compression; empty if it is not a table."""
    suffix = PurePosixPath(name.lower().removesuffix(".gz")).suffix
    return suffix if suffix in SUFFIXES and not name.lower().endswith(".parquet.gz") else ""


def is_hidden(name: PurePosixPath) -> bool:
    """Return whether a file, or a folder above it, is hidden or known to hold no data."""
    return any(part.startswith(".") or part in JUNK for part in name.parts)


def find(data: Path) -> Iterator[Table | Skipped | Unreadable]:
    """Yield the tables of one file or archive, or of a folder of them, in the order of their names."""
    found = [data] if data.is_file() else sorted(path for path in data.rglob("*") if path.is_file())
    for path in found:
        relative = path.relative_to(data) if path != data else Path(path.name)
        name, is_archive = shown(relative), path.suffix.lower() == ".zip"
        if not kind_of(path.name) and not is_archive:
            continue
        if path != data and is_hidden(PurePosixPath(name)):
            yield Skipped(name, "hidden files")
        elif not path.resolve().is_relative_to(data.resolve()):
            yield Unreadable(name, "a link that leads out of the data folder")
        elif is_archive:
            yield from in_archive(path, name)
        else:
            yield Table(name, kind_of(path.name), opener(path), path, partitions_of(relative))


def opener(path: Path) -> Callable[[], BinaryIO]:
    """Return a function that opens a file, compressed or not."""
    return lambda: gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb")


def in_archive(path: Path, name: str) -> Iterator[Table | Skipped]:
    """Yield the tables of a zip archive, which are read in place and never unpacked.

    Raise ValueError if the archive cannot be read.
    """
    try:
        archive = zipfile.ZipFile(path)
    except (OSError, *BROKEN_ARCHIVE) as error:
        raise ValueError(f"{name} is not a zip archive that can be read: {error}. Create it again.") from error
    for entry in sorted(archive.infolist(), key=lambda entry: entry.filename):
        kind = kind_of(entry.filename)
        if entry.is_dir() or not kind:
            continue
        if is_hidden(PurePosixPath(entry.filename)):
            yield Skipped(f"{name}/{entry.filename}", "hidden files")
        else:
            yield Table(f"{name}/{entry.filename}", kind, member(archive, entry))


def member(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Callable[[], BinaryIO]:
    """Return a function that opens a member of an archive."""

    def open_it() -> BinaryIO:
        opened: Any = archive.open(entry)
        return gzip.open(opened) if entry.filename.lower().endswith(".gz") else opened

    return open_it


def partitions_of(relative: Path) -> dict[str, str | None]:
    """Return the columns that are folders named column=value, as Hive and Spark write them."""
    pairs = (part.split("=", 1) for part in relative.parts[:-1] if "=" in part)
    return {name: None if value == "__HIVE_DEFAULT_PARTITION__" else unquote(value) for name, value in pairs}


# --- rows ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """A row, or the reason why it has no content; `note` is a remark, and the report counts rows by it."""

    where: str
    content: dict[str, Any] | Unreadable | Skipped
    note: str = ""


def rows(table: Table, needed: dict[str, str], columns: list[str] | None = None) -> Iterator[Row]:
    """Yield the rows of a table.

    `needed` maps the required columns to the settings that name them; the label's is last. `columns` are the names for
    the columns of a delimited file without a header.

    Raise ValueError for a file that is not what its name says, or that lacks a column.
    """
    if table.kind in DELIMITED:
        found = delimited_rows(table, needed, columns or [])
    else:
        found = (parquet_rows if table.kind == ".parquet" else json_rows)(table, needed)
    try:
        for place, content, note in found:
            where = f"{table.name}, {place}"
            yield Row(where, Unreadable(where, content) if isinstance(content, str) else content, note)
    except (OSError, UnicodeError, csv.Error, *BROKEN_ARCHIVE) as error:
        raise ValueError(f"{table.name} cannot be read: {error}. Write it anew, or remove it.") from error


def check_columns(there: Iterable[Any], needed: dict[str, str], name: str) -> None:
    """Raise ValueError for a missing column; a.b, a member of an object, exists if column a does."""
    there = [str(column) for column in there]
    for column, setting in needed.items():
        if column not in there and column.split(".")[0] not in there:
            raise ValueError(
                f"column {column!r} not in {name}, which has: {', '.join(there)}. Set {setting} in settings.toml."
            )


def text_of(table: Table) -> io.TextIOWrapper:
    """Return a file as text: in UTF-8, or in the encoding of its byte order mark.

    Bytes that are not UTF-8 become lone surrogates.
    """
    stream = io.BufferedReader(table.open())  # type: ignore[arg-type]  (what a zip opens is a stream, too)
    start = stream.peek(4)[:4]
    encoding = next((name for mark, name in MARKS if start.startswith(mark)), "utf-8")
    errors = "surrogateescape" if encoding.startswith("utf-8") else "strict"
    return io.TextIOWrapper(stream, encoding, errors, newline="")


# --- delimited -------------------------------------------------------------------------------------------------------


class Lines:
    """The lines of a file, some of which may be read again.

    A csv.reader reads on until a quote closes. If that was wrong, its lines are given back (`rewind`).
    """

    def __init__(self, lines: Iterable[str]):
        self.lines = iter(lines)
        self.again: deque[str] = deque()
        self.taken: list[str] = []  # lines of the record that is being read
        self.number = 0  # of the line that was taken last

    def __iter__(self) -> Iterator[str]:
        while (line := self.again.popleft() if self.again else next(self.lines, None)) is not None:
            self.taken.append(line)
            self.number += 1
            if len(self.taken) > MAX_LINES:
                raise csv.Error(f"not within {MAX_LINES:,} lines")
            yield line

    def begin(self) -> int:
        """Begin a record, and return the number of its first line."""
        self.taken = []
        return self.number + 1

    def rewind(self) -> None:
        """Give back all lines of the record but its first."""
        self.again.extendleft(reversed(self.taken[1:]))
        self.number -= len(self.taken) - 1
        del self.taken[1:]


@dataclass
class Dialect:
    """How a file separates values, the names of its columns, and the labels read so far."""

    delimiter: str
    spaced: bool  # a space follows the delimiter, perhaps before a quote
    columns: list[str] = field(default_factory=list)
    labels: set[str] = field(default_factory=set)

    def reader(self, lines: Iterable[str], strict: bool) -> Any:
        return csv.reader(lines, delimiter=self.delimiter, skipinitialspace=self.spaced, strict=strict)

    def values(self, line: str) -> list[str]:
        """Return the values of one line, whose quotes may be wrong."""
        return [value.rstrip("\r\n") for value in next(self.reader([line], strict=False), [])]

    def label_of(self, values: list[str], label: str) -> str:
        return values[self.columns.index(label)].strip() if label in self.columns else ""

    def holds_rows(self, lines: list[str], label: str) -> bool:
        """Return whether the lines between a record's first and last look like rows of this file.

        They do if they have its number of values and, once labels are known, one of these.
        """
        inner = [self.values(line) for line in lines[1:-1] if line.strip()][:MANY_LINES]
        alike = [values for values in inner if len(values) == len(self.columns)]
        if self.labels:
            alike = [values for values in alike if self.label_of(values, label) in self.labels]
        return len(self.columns) > 1 and len(inner) >= LIKE_ROWS and len(alike) >= 0.9 * len(inner)


def dialects(line: str, kind: str) -> list[Dialect]:
    """Return the dialects to try on a line; the first has the delimiter of the file's suffix."""
    usual = DELIMITED[kind]
    return [Dialect(each, f"{each} " in line) for each in (usual, *(d for d in DELIMITERS if d != usual))]


def dialect_of(header: str, kind: str, needed: dict[str, str]) -> Dialect:
    """Return the dialect in which the header has the needed columns; else the one with most columns."""
    tried = dialects(header, kind)
    for each in tried:
        each.columns = [name.strip() for name in each.values(header)]
    fitting = [each for each in tried if all(column in each.columns for column in needed)]
    return fitting[0] if fitting else max(tried, key=lambda each: len(each.columns))


def records(lines: Lines, dialect: Dialect) -> Iterator[tuple[int, list[str] | csv.Error]]:
    """Yield the number of each record's first line, and its values; a csv.Error in their place if its quotes are wrong.

    After an error, reading goes on in the record's second line: a wrong quote costs one line.
    """
    ended = False
    while not ended:
        reader = dialect.reader(lines, strict=True)
        while True:
            first = lines.begin()
            try:
                values = next(reader, None)
            except csv.Error as error:
                many = len(lines.taken)
                lines.rewind()
                # Quotes inside a value should be doubled; a single line with the right number of values is accepted.
                alone = dialect.values(lines.taken[0])
                yield first, alone if many == 1 and len(alone) == len(dialect.columns) else error
                break  # a csv.reader cannot go on after an error
            if values is None:
                ended = True
                break
            yield first, values


def without_header(first: str, table: Table, columns: list[str]) -> Dialect:
    """Return the dialect in which the first line has as many values as [data] columns has names.

    Raise ValueError if there is none.
    """
    tried = dialects(first, table.kind)
    fitting = [each for each in tried if len(each.values(first)) == len(columns)]
    if not fitting:
        raise ValueError(
            f"[data] columns has {len(columns)} names ({', '.join(columns)}), and the first line of {table.name} has "
            f"{len(tried[0].values(first))} values. Name each column, in their order; or [], where the file has a header."
        )
    fitting[0].columns = columns
    return fitting[0]


def delimited_rows(table: Table, needed: dict[str, str], columns: list[str]) -> Iterator[tuple[str, Any, str]]:
    """Yield the rows of a file with a header, or of one whose columns are named: place, content, note.

    The content is a dict, a Skipped, or a text that says what is wrong.
    """
    label = list(needed)[-1]
    with text_of(table) as text:
        lines = Lines(text)
        header = next(iter(lines), "")
        if not header:
            return
        if "\0" in header:
            raise ValueError(f"{table.name} holds NUL bytes, as UTF-16 without its mark does. Save it as UTF-8.")
        dialect = without_header(header, table, columns) if columns else dialect_of(header, table.kind, needed)
        if columns:
            lines = Lines(chain([header], text))
        check_columns(dialect.columns, needed, table.name)
        if twice := [name for name in needed if dialect.columns.count(name) > 1]:
            raise ValueError(f"{table.name} has the column {twice[0]!r} twice. Rename one of them.")
        many, last = len(dialect.columns), max(map(dialect.columns.index, needed))
        for first, values in records(lines, dialect):
            place, count = f"line {first}", len(lines.taken)
            if isinstance(values, csv.Error):
                yield place, f'a quote (") opens and does not close ({values}); inside of quotes they are doubled', ""
            elif values and values[0].strip() == dialect.columns[0] and [v.strip() for v in values] == dialect.columns:
                yield place, Skipped(f"{table.name}, {place}", "repeated header lines"), ""
            elif len(values) > many:
                yield place, f"{len(values)} values for {many} columns; quote what holds a {dialect.delimiter!r}", ""
            elif count > LIKE_ROWS + 1 and dialect.holds_rows(lines.taken, label):
                lines.rewind()
                yield place, f'a quote (") opens and closes {count - 1} lines later, over whole rows', ""
            elif 0 < len(values) <= last and "".join(values).strip():
                yield place, f"only {len(values)} values for {many} columns", ""
            elif len(values) > last:
                row = dict(zip(dialect.columns, values, strict=False))
                # Learn labels from rows on a single line: those of longer ones may be part of a text.
                if count == 1 and len(dialect.labels) < ROWS_A_BATCH:
                    dialect.labels.add(str(row.get(label) or "").strip())
                yield place, row, f"over more than {MANY_LINES} lines" if count > MANY_LINES else ""


# --- JSON ------------------------------------------------------------------------------------------------------------


def json_rows(table: Table, needed: dict[str, str]) -> Iterator[tuple[str, Any, str]]:
    """Yield the rows of JSON lines, or of a JSON array of objects, in the form of delimited_rows."""
    known: dict[str, None] = {}
    number = 0
    with text_of(table) as text:
        start = text.read(PIECE)
        is_array = re.match(r"\s*\[\s*[{\]]", start)
        found = in_array(start, text) if is_array else in_lines(start, text)
        for number, (place, row) in enumerate(found, 1):
            if isinstance(row, dict):
                if len(known) < ROWS_A_BATCH:
                    known |= dict.fromkeys(row)
                yield place, row, ""
            else:
                yield place, row if isinstance(row, str) else f"{str(row)[:40]!r} is not an object with columns", ""
            if number == KNOWN_AFTER and known:
                check_columns(known, needed, table.name)
    if known:
        check_columns(known, needed, table.name)


def in_lines(start: str, text: io.TextIOWrapper) -> Iterator[tuple[str, Any]]:
    """Yield the value of each line of a file whose beginning, `start`, has been read.

    A str in place of a value says what is wrong with the line.
    """
    rest = start
    number = 0
    ended = False
    while not ended:
        piece = text.read(PIECE)
        ended = not piece
        *whole, rest = (rest + piece).split("\n")
        for line in (*whole, rest) if ended else whole:
            number += 1
            if not line.strip():
                continue
            try:
                row = json.loads(line)
                yield f"line {number}", f"{row[:40]!r} is not an object with columns" if isinstance(row, str) else row
            except (ValueError, RecursionError) as error:  # ValueError: not JSON, or a number with thousands of digits
                yield f"line {number}", f"not JSON: {error}"


def in_array(start: str, text: io.TextIOWrapper) -> Iterator[tuple[str, Any]]:
    """Yield the members of a JSON array whose beginning, `start`, has been read, one at a time.

    Raise ValueError if a member is nested too deep, and OSError if the array breaks off.
    """
    decoder = json.JSONDecoder()
    rest, number = start.lstrip()[1:], 0
    while True:
        rest = rest.lstrip(" \t\r\n,")
        if rest.startswith("]"):
            return
        try:
            row, end = decoder.raw_decode(rest)
            if end == len(rest):
                raise ValueError("it may go on")  # a number at the end of what was read
        except RecursionError:
            raise ValueError(f"item {number + 1} is nested too deep") from None
        except ValueError as error:
            piece = text.read(max(PIECE, len(rest)))  # doubled each time: parsing again is not quadratic
            if not piece:
                raise OSError(f"its array breaks off at item {number + 1}: {error}") from error
            rest += piece
            continue
        number += 1
        yield f"item {number}", f"{row[:40]!r} is not an object with columns" if isinstance(row, str) else row
        rest = rest[end:]


# --- Parquet ---------------------------------------------------------------------------------------------------------


def parquet_rows(table: Table, needed: dict[str, str]) -> Iterator[tuple[str, Any, str]]:
    """Yield the rows of a Parquet file in the form of delimited_rows, with one batch in memory at a time."""
    import pyarrow as pa  # imported here: the endpoint's image may lack it
    import pyarrow.parquet as pq

    try:
        with contextlib.closing(table.open()) as opened:
            file = pq.ParquetFile(table.path or io.BytesIO(opened.read()))
        there = [*file.schema_arrow.names, *table.partitions]
        check_columns(there, needed, table.name)
        wanted = dict.fromkeys(column if column in there else column.split(".")[0] for column in needed)
        number = 0
        for batch in file.iter_batches(
            ROWS_A_BATCH, columns=[column for column in wanted if column in file.schema_arrow.names]
        ):
            for row in batch.to_pylist():
                number += 1
                yield f"row {number}", table.partitions | row, ""
    except pa.ArrowException as error:
        raise ValueError(f"{table.name} is not a Parquet file that can be read: {error}. Write it anew.") from error


# --- values ----------------------------------------------------------------------------------------------------------


class NoText(ValueError):
    """Raised for a value that cannot be converted to text."""


def value_at(row: dict[str, Any], column: str) -> Any:
    """Return the value of a column or, for a.b, of a member of the object in column a; None if there is none."""
    if column in row:
        return row[column]
    value: Any = row
    for name in column.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def as_text(value: Any, column: str = "") -> str:
    """Return a value as text, equal for CSV, JSON and Parquet: empty for None and NaN, 4 for 4.0, true for True.

    Raise NoText for an object, a list, and bytes that are not UTF-8.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, dict):
        inner = next(iter(value), "...")
        raise NoText(f"{column!r} holds an object with: {', '.join(map(str, value))}. Name a member: {column}.{inner}")
    if isinstance(value, (list, tuple, set)):
        raise NoText(f"{column!r} holds a list. Make one text of it, or a column of each")
    if isinstance(value, (bytes, bytearray, memoryview)):
        try:
            value = bytes(value).decode()
        except UnicodeDecodeError:
            raise NoText(f"{column!r} holds bytes that are not UTF-8. Store text") from None
    text = str(value).strip()
    if re.fullmatch(r"-?\d+\.0+", text):
        return text.split(".")[0]
    if text.lower() in ("true", "false"):
        return text.lower()
    return "" if text.lower() == "nan" else text


def labels_of(row: dict[str, Any], label: str | list[str], multi_label: bool) -> list[str]:
    """Return the labels of a row: from a column, from a list in it, or from one column for each label, with 1 or 0.

    Raise NoText for anything else.
    """
    if isinstance(label, list):
        return [column for column in label if is_set(as_text(value_at(row, column), column), column)]
    value = value_at(row, label)
    if multi_label and isinstance(value, str) and value.strip().startswith("[") and value.strip().endswith("]"):
        value = listed(value.strip())
    if not isinstance(value, list):
        return [text] if (text := as_text(value, label)) else []
    texts = [as_text(each, label) for each in value]
    if len(texts) > 1 and set(texts) <= {"0", "1"}:
        raise NoText(f'{label!r} holds ones and zeros. List names, or give each label a column: label = ["...", "..."]')
    return [text for text in texts if text]


def place_of(row: dict[str, Any], data: dict[str, Any], split: str) -> tuple[str, str]:
    """Return the split of a row, "" for none, and its group.

    Without a split column, the split is the one passed in, of the row's file. Raise NoText for an unknown split.
    """
    if data["split"]:
        named = as_text(value_at(row, data["split"])).strip()
        split = given_split(named)
        if named and not split:
            raise NoText(f"{data['split']} is {named!r}, which is none of train, validation and test")
    return split, as_text(value_at(row, data["group"])).strip() if data["group"] else ""


def columns_needed(contents: dict[str, str], data: dict[str, Any]) -> dict[str, str]:
    """Return the columns that rows must have, each with the setting that names it; the labels are last.

    Raise ValueError if the group is also a label.
    """
    label = data["label"]
    labels = [label] if isinstance(label, str) else label
    if data["group"] in labels:
        raise ValueError(
            f"[data] group is {data['group']!r}, which is the label: a class would be on one side. Name another column."
        )
    places = {data[name]: f"[data] {name}" for name in ("split", "group") if data[name]}
    return places | contents | dict.fromkeys(labels, "[data] label")


def is_set(text: str, column: str) -> bool:
    """Return whether a label's column says that the example has it. Raise NoText if it is not 1 or 0."""
    if text in ("", "0", "1", "true", "false"):
        return text in ("1", "true")
    raise NoText(f"{column!r} is {text[:40]!r}, and a label's column holds 1 or 0")


def listed(text: str) -> Any:
    """Return the list in a CSV value, written as JSON or Python writes lists; the text itself if it is neither."""
    try:
        return json.loads(text)
    except ValueError:
        pass
    try:
        found = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text
    return found if isinstance(found, list) else text


def is_utf8(text: str) -> bool:
    """Return whether a text has no lone surrogates, which stand for bytes that were not UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
