"""Read a definition as strict JSON: reject whatever another parser might read differently."""

import json
import math
from typing import Any

# CreatePipeline's limit: docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreatePipeline.html
MAX_CHARACTERS = 1_048_576
MAX_LEVELS = 64
MAX_DIGITS = 18  # every such integer fits into 64 bits


def read(content: bytes | str) -> Any:
    """Parse a definition. Raises ValueError for text that is too long, nested too deep, ambiguous or not JSON."""
    try:
        text = content.decode() if isinstance(content, bytes) else content
        if len(text) > MAX_CHARACTERS:
            raise ValueError(
                f"it has {len(text):,} characters, more than the {MAX_CHARACTERS:,} that a pipeline takes."
            )
        value = json.loads(
            text,
            object_pairs_hook=without_duplicates,
            parse_constant=refuse_constant,
            parse_int=whole_number,
            parse_float=finite_number,
        )
        json.dumps(value, ensure_ascii=False).encode()  # fails for a lone surrogate
    except RecursionError as error:
        raise ValueError(f"it is nested more than {MAX_LEVELS} levels deep.") from error
    except UnicodeError as error:
        raise ValueError(f"it is not UTF-8: {error.reason} at {error.start}.") from error
    require_flat(value)
    return value


def without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        names = [name for name, _ in pairs]
        twice = sorted({name for name in names if names.count(name) > 1})
        raise ValueError(f"an object has {', '.join(twice[:5])} twice. Keep one.")
    return members


def refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON. Write a number.")


def whole_number(text: str) -> int:
    if len(text.lstrip("-")) > MAX_DIGITS:
        raise ValueError(f"the number {text[:20]}... has {len(text)} digits, more than {MAX_DIGITS}.")
    return int(text)


def finite_number(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise ValueError(f"the number {text[:20]} is too large.")
    return number


def require_flat(value: Any) -> None:
    """Raise ValueError for a value nested deeper than MAX_LEVELS, at which other parsers may fail.

    Walk level by level instead of recursively.
    """
    level, members = 0, [value]
    while members:
        if (level := level + 1) > MAX_LEVELS:
            raise ValueError(f"it is nested more than {MAX_LEVELS} levels deep.")
        members = [
            inner
            for member in members
            if isinstance(member, (dict, list))
            for inner in (member.values() if isinstance(member, dict) else member)
        ]
