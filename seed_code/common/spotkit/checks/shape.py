"""Check the shape of a definition against a JSON schema that covers every type of step."""

import functools
import json
from pathlib import Path
from typing import Any

from spotkit.checks.definition import NESTED
from spotkit.checks.problems import Problem, quoted

SCHEMA = Path(__file__).parent / "schema.json"
STEP_LISTS = ("Steps", *(name for names in NESTED.values() for name in names))


@functools.cache
def validator() -> Any:
    """Return the validator of the schema, created once."""
    from jsonschema import Draft202012Validator

    return Draft202012Validator(json.loads(SCHEMA.read_text()))


def check(definition: Any) -> list[Problem]:
    """Return a problem for every violation of the schema."""
    return [problem_of(error, definition) for error in validator().iter_errors(definition)]


def problem_of(error: Any, definition: Any) -> Problem:
    """Convert an error of jsonschema into a problem: the innermost step around it, and the path inside that step."""
    step, path = "", []
    value: Any = definition
    for part in error.absolute_path:
        in_steps = path and path[-1] in STEP_LISTS and isinstance(value, list)
        value = value[part]
        path.append(f"[{part}]" if isinstance(part, int) else part)
        if in_steps and isinstance(value, dict) and isinstance(value.get("Name"), str):
            step, path = value["Name"], []
    return Problem(step, ".".join(path).replace(".[", "["), message_of(error))


def message_of(error: Any) -> str:
    """Return a message for an error of jsonschema: the value, what is wrong, and the schema's $comment as advice."""
    value, rule = error.instance, error.validator_value
    kinds = {
        "object": "an object",
        "array": "a list",
        "string": "text",
        "integer": "a whole number",
        "number": "a number",
    }
    kinds |= {"boolean": "true or false", "null": "null"}
    properties = error.schema.get("properties", {}).keys() if isinstance(error.schema, dict) else ()
    hint = error.schema.get("$comment", "") if isinstance(error.schema, dict) else ""
    texts = {
        "type": lambda: (
            f"{quoted(value)} is not {' or '.join(kinds[k] for k in ([rule] if isinstance(rule, str) else rule))}."
        ),
        "required": lambda: f"{', '.join(name for name in rule if name not in value)} is missing.",
        "enum": lambda: f"{quoted(value)} is not one of {', '.join(map(str, rule))}.",
        "const": lambda: f"{quoted(value)} is not {rule!r}.",
        "pattern": lambda: f"{quoted(value)} does not match {rule}.",
        "minItems": lambda: f"it has {len(value)} entries, fewer than {rule}.",
        "maxItems": lambda: f"it has {len(value)} entries, more than {rule}.",
        "minLength": lambda: f"{quoted(value)} is shorter than {rule} characters.",
        "maxLength": lambda: f"it has {len(value)} characters, more than {rule}.",
        "minimum": lambda: f"{quoted(value)} is below {rule}.",
        "maximum": lambda: f"{quoted(value)} is above {rule}.",
        "exclusiveMinimum": lambda: f"{quoted(value)} is not above {rule}.",
        "uniqueItems": lambda: f"{quoted(value)} has an entry twice.",
        "additionalProperties": lambda: (
            f"has no place for {', '.join(map(quoted, sorted(value.keys() - properties)))}."
        ),
        "oneOf": lambda: f"{quoted(value)} is none, or several, of the forms it may have.",
    }
    text = texts.get(error.validator, lambda: f"{quoted(value)} is not as it should be ({error.validator}).")()
    return f"{text} {hint}".strip()
