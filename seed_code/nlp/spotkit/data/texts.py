"""Read texts from tables and requests."""

import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from spotkit.data import tables
from spotkit.data.examples import Example, NothingToRead, Skipped, Unreadable
from spotkit.data.tables import NoText, as_text, is_utf8, labels_of, value_at
from spotkit.serving import media

LONG_TEXTS = ("head", "head_tail", "windows")
FORM = (
    'the request is not {"inputs": "a text"} or {"inputs": ["a text", "another"]}, '
    'nor with {"title": "...", "text": "..."} in place of each text'
)


def read(data: Path, settings: dict[str, Any]) -> Iterator[Example | Unreadable | Skipped]:
    """Yield the rows of one file, or of the files of a folder sorted by name, one at a time.

    Raise ValueError if a setting or a file is invalid, and NothingToRead if there is no file to read.
    """
    if settings["task"]["long_texts"] not in LONG_TEXTS:
        raise ValueError(f"[task] long_texts is {settings['task']['long_texts']!r}. Choose: {', '.join(LONG_TEXTS)}.")
    columns, label = text_columns(settings["task"]), settings["data"]["label"]
    labels = [label] if isinstance(label, str) else label
    if both := [name for name in labels if name in columns]:
        raise ValueError(
            f"[task] text names {both[0]!r}, which is [data] label: the model would see the label. Remove it from text."
        )
    needed = tables.columns_needed(dict.fromkeys(columns, "[task] text"), settings["data"])
    empty = True
    for table in tables.find(data):
        if not isinstance(table, tables.Table):
            yield table
            continue
        empty = False
        split = table.split
        for row in tables.rows(table, needed, settings["data"]["columns"]):
            if isinstance(row.content, dict):
                yield example_of(row, columns, settings["data"], split)
            else:
                yield row.content
    if empty:
        raise NothingToRead(f"no {', '.join(tables.SUFFIXES)} file in {tables.shown(data)}. Put your texts there.")


def text_columns(settings: dict[str, Any]) -> list[str]:
    """Return the columns that make up a text. Raise ValueError if [task] text names none, or one twice."""
    named = settings["text"]
    columns = [named] if isinstance(named, str) else named
    named_well = columns and all(isinstance(column, str) and column for column in columns)
    if not named_well or len(set(columns)) < len(columns):
        raise ValueError(f'[task] text is {named!r}. Name a column, or several different ones: ["title", "text"].')
    return columns


def join(row: dict[str, Any], columns: list[str]) -> str:
    """Return the text of a row: the values of its columns that are not empty, separated by " | "."""
    return " | ".join(filter(None, (as_text(value_at(row, column), column) for column in columns)))


def example_of(row: tables.Row, columns: list[str], data: dict[str, Any], split: str) -> Example | Unreadable:
    """Return the example of a row, or the reason why there is none.

    The text is normalised (Unicode NFC). Texts that differ only in case or in whitespace have equal keys.
    """
    try:
        content = join(row.content, columns)
        labels = labels_of(row.content, data["label"], data["problem"] == "multi_label")
        split, group = tables.place_of(row.content, data, split)
    except NoText as error:
        return Unreadable(row.where, str(error))
    for what, texts in (("text", [content]), ("label", labels)):
        if any("\0" in text for text in texts):
            return Unreadable(row.where, f"a NUL byte in the {what}")
    if not all(map(is_utf8, (content, *labels))):
        return Unreadable(row.where, tables.NOT_UTF8)
    content = unicodedata.normalize("NFC", content)
    key = " ".join(content.lower().split())
    return Example(key, labels, row.where, content, row.note, split, group)


def cut(text: str, settings: dict[str, Any]) -> str:
    """Cut a text to max_characters: its start, or with long_texts = "head_tail" one half each from start and end."""
    text, most = unicodedata.normalize("NFC", text), settings["max_characters"]
    if len(text) <= most or settings["long_texts"] != "head_tail":
        return text[:most]
    return text[: most - most // 2] + " " + text[len(text) - most // 2 :]


def decode(body: bytes, content_type: str) -> list[dict[str, Any]]:
    """Return the rows of a request, one per text. Raise ValueError if its content type or its body is invalid.

    A row has "text", "columns" (a dict) or, from CSV, "values" in the order of [task] text.
    """
    kind, charset = media.parse(content_type)
    if kind == "text/plain":
        return [{"text": media.text_of(body, charset)}]
    if kind == media.CSV:
        return [{"values": values} for values in media.rows_of(media.text_of(body, charset))]
    if kind in (media.ONE, media.LINES):
        return media.rows_made(body, (kind, charset), row_of, FORM)
    raise ValueError(
        f"content type {kind} is not served. Send text/plain, application/json, application/jsonlines or text/csv."
    )


def row_of(item: Any) -> dict[str, Any]:
    """Return the row of one JSON value: a text, or an object with the columns of one. Raise ValueError for others."""
    if isinstance(item, str) and is_utf8(item):
        return {"text": item}
    if isinstance(item, dict):
        return {"columns": item}
    raise ValueError(f"{media.shown(item)} is not a string; {FORM}")


def text_of(row: dict[str, Any], settings: dict[str, Any]) -> str:
    """Return the text of a request's row, joined from its columns as in training.

    Raise ValueError if a column is missing or holds no text, or if the text is empty.
    """
    if "text" in row:
        text = row["text"]
    else:
        columns = text_columns(settings)
        given = row["columns"] if "columns" in row else dict(zip(columns, row["values"], strict=False))
        if len(row.get("values", columns)) != len(columns):
            raise ValueError(f"a row has {len(row['values'])} values. Send {', '.join(columns)}, without a header.")
        if missing := [column for column in columns if column not in given]:
            raise ValueError(
                f"the request has no {', '.join(missing)}. Send all of: {', '.join(columns)}; or one text."
            )
        for column in columns:
            if not isinstance(given[column], str | int | float | None) or not is_utf8(as_text(given[column])):
                raise ValueError(f"{column} is {ascii(given[column])} in the request. Send a text.")
        text = join(given, columns)
    if not text.strip():
        raise ValueError("a text of the request is empty. Send at least a word.")
    return text
