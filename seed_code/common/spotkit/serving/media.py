"""Requests and responses in the media types that SageMaker sends: one JSON document, JSON lines, CSV.

https://docs.aws.amazon.com/sagemaker/latest/dg/cdf-inference.html; batch transform sends its files line by line.
"""

import codecs
import csv
import io
import json
from collections.abc import Callable
from email.message import Message
from typing import Any

ONE, LINES, CSV = "application/json", "application/jsonlines", "text/csv"
SPELLED = {"application/x-ndjson": LINES, "application/x-jsonlines": LINES, "application/jsonl": LINES}
WRITTEN = (ONE, LINES, CSV)
SHOWN = 60  # characters of an invalid value in an error message


def parse(content_type: str) -> tuple[str, str]:
    """Return the media type in lower case, and the charset. Raise ValueError for an unknown charset."""
    content_type = content_type or ONE
    message = Message()
    message["Content-Type"] = content_type
    charset = str(message.get_param("charset") or "utf-8")
    try:
        codecs.lookup(charset)
    except LookupError:
        raise ValueError(f"charset {charset} is not known. Send UTF-8.") from None
    media = message.get_content_type() if "/" in content_type else content_type.strip().lower()
    return SPELLED.get(media, media), charset


def text_of(body: bytes, charset: str) -> str:
    """Return a body as text. Raise ValueError if it is empty or not in the charset."""
    try:
        text = body.decode(charset)
    except UnicodeDecodeError:
        raise ValueError(
            f"the request is not {charset}. Send UTF-8, or name its charset in the content type."
        ) from None
    if not text.strip():
        raise ValueError("the request is empty. Send at least one item.")
    return text


def items_of(text: str, media: str) -> list[Any]:
    """Return the items of a JSON document (a value or a list, also under "inputs"), or one for each JSON line."""
    if media == ONE:
        found = inputs_of(value_of(text, ""))
        return found if isinstance(found, list) else [found]
    lines = [line for line in text.splitlines() if line.strip()]
    return [inputs_of(value_of(line, f"item {number}: ")) for number, line in enumerate(lines, 1)]


def inputs_of(value: Any) -> Any:
    return value["inputs"] if isinstance(value, dict) and set(value) == {"inputs"} else value


def value_of(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError(f"{where}the request is nested too deep.") from None
    except ValueError as error:
        raise ValueError(f"{where}the request is not JSON: {error}.") from None


def rows_of(text: str) -> list[list[str]]:
    """Return the rows of CSV, which has no header: batch transform sends it in pieces. Raise ValueError if invalid."""
    try:
        found = [row for row in csv.reader(io.StringIO(text, newline=""), strict=True) if row]
    except csv.Error as error:
        raise ValueError(f"the request is not CSV: {error}.") from None
    return found


def one_by_one(items: list[Any], make: Callable[[Any], Any]) -> list[Any]:
    """Return `make(item)` for each item; if there are several, an error names the item."""
    made = []
    for number, item in enumerate(items, 1):
        try:
            made.append(make(item))
        except ValueError as error:
            raise ValueError(f"item {number}: {error}" if len(items) > 1 else str(error)) from error
    return made


def rows_made(body: bytes, content_type: tuple[str, str], make: Callable[[Any], Any], form: str) -> list[Any]:
    """Return a row for each item of a body in JSON or JSON lines.

    `form` says what a request looks like: the error message for one without items.
    """
    media, charset = content_type
    items = items_of(text_of(body, charset), media)
    if not items:
        raise ValueError(form)
    return one_by_one(items, make)


def shown(value: Any) -> str:
    """Return an invalid value for an error message: in ASCII, and shortened."""
    text = ascii(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def answer_as(accept: str) -> str:
    """Return the response's media type: the first in `accept` that can be written. Raise ValueError if none can."""
    asked = [part.split(";")[0].strip().lower() for part in (accept or "*/*").split(",")]
    for media in (SPELLED.get(media, media) for media in asked):
        if media in WRITTEN or media in ("*/*", "application/*"):
            return media if media in WRITTEN else ONE
    raise ValueError(f"an answer in {accept} is not to be had. Accept one of: {', '.join(WRITTEN)}.")


def written(answers: list[dict[str, Any]], media: str) -> str:
    """Return predictions in a media type; a row of CSV has the label and its score, or a JSON list of each."""
    if media == ONE:
        return json.dumps(answers)
    if media == LINES:
        return "".join(f"{json.dumps(answer)}\n" for answer in answers)
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    for answer in answers:
        if "label" in answer:
            writer.writerow([answer["label"], answer["scores"][answer["label"]]])
        else:
            writer.writerow(
                [json.dumps(answer["labels"]), json.dumps([answer["scores"][name] for name in answer["labels"]])]
            )
    return text.getvalue()
