"""Validate a resource's properties against its provider schema, as CloudFormation does before it calls the provider.

docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/resource-type-schema.html describes the schemas. cfn-lint has
those of AWS's types, and depends on jsonschema and regex. All three are in the jobs' environment and not in the
emulator's, whose boto3 ministack pins.
"""

import importlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

REGION = "us-east-1"
# CloudFormation converts scalars: a template's parameters are strings, whatever type a property has.
# .../UserGuide/parameters-section-structure.html: "CloudFormation stores numbers as strings".
_NUMBER = re.compile(r"-?\d+(\.\d+)?([eE][+-]?\d+)?")
_JSON_NAMES = {dict: "JSONObject", list: "JSONArray", str: "String", bool: "Boolean", int: "Number", float: "Number"}


@cache
def _site_packages() -> Path:
    """Return the site-packages folder of the jobs' environment, which has cfn-lint and jsonschema."""
    program = "import sysconfig; print(sysconfig.get_path('purelib'))"
    python = os.environ["REHEARSAL_PYTHON"]
    return Path(subprocess.run([python, "-c", program], capture_output=True, text=True, check=True).stdout.strip())


@cache
def schema_of(resource_type: str) -> dict[str, Any] | None:
    """Return the provider schema of a resource type; None if AWS has no such type."""
    folder = _site_packages() / "cfnlint/data/schemas"
    files = json.loads((folder / f"providers/{REGION}.json").read_text())
    if resource_type not in files:
        return None
    return json.loads((folder / f"resources/{files[resource_type]}.json").read_text())


@cache
def _import(name: str) -> Any:
    """Import a package of the jobs' environment, which is last on the path, and only during this import."""
    # ministack must not find the other packages there: its behaviour depends on what it can import.
    folder = str(_site_packages())
    sys.path.append(folder)
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(folder)


@cache
def _validator() -> Any:
    """Return a jsonschema validator class with CloudFormation's conversions and messages."""
    jsonschema = _import("jsonschema")
    keywords = {
        "type": _type, "enum": _enum, "required": _required, "additionalProperties": _additional, "pattern": _pattern, "patternProperties": _pattern_properties,
        "minimum": _minimum, "maximum": _maximum,
    }  # fmt: skip

    # The checks yield messages, or errors of a nested schema; jsonschema expects errors.
    def failing(check: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
        failure = jsonschema.ValidationError
        return lambda *arguments: (failure(each) if isinstance(each, str) else each for each in check(*arguments))

    return jsonschema.validators.extend(
        jsonschema.Draft7Validator, {name: failing(check) for name, check in keywords.items()}
    )


def _type(validator: Any, types: str | list[str], value: Any, schema: dict[str, Any]) -> Iterator[str]:
    names = [types] if isinstance(types, str) else types
    if not any(validator.is_type(value, name) or _converts(value, name) for name in names):
        found = _JSON_NAMES.get(type(value), "Null")
        yield f"expected type: {' or '.join(name.capitalize() for name in names)}, found: {found}"


def _converts(value: Any, name: str) -> bool:
    if name in ("integer", "number"):
        return isinstance(value, str) and bool(_NUMBER.fullmatch(value)) and (name == "number" or "." not in value)
    if name == "boolean":
        return isinstance(value, str) and value.lower() in ("true", "false")
    return name == "string" and isinstance(value, bool | int | float)


def _enum(validator: Any, values: list[Any], value: Any, schema: dict[str, Any]) -> Iterator[str]:
    if value not in values and str(value) not in map(str, values):
        yield f"{value} is not a valid enum value"


def _required(validator: Any, names: list[str], value: Any, schema: dict[str, Any]) -> Iterator[str]:
    if isinstance(value, dict):
        yield from (f"required key [{name}] not found" for name in names if name not in value)


def _additional(validator: Any, allowed: Any, value: Any, schema: dict[str, Any]) -> Iterator[Any]:
    patterns = schema.get("patternProperties", {})
    extra = value.keys() - schema.get("properties", {}).keys() if isinstance(value, dict) else set()
    for name in sorted(name for name in extra if not any(_compiled(each).search(name) for each in patterns)):
        if allowed is False:
            yield f"extraneous key [{name}] is not permitted"
        elif isinstance(allowed, dict):
            yield from validator.descend(value[name], allowed, path=name)


def _pattern(validator: Any, pattern: str, value: Any, schema: dict[str, Any]) -> Iterator[str]:
    if isinstance(value, str) and not _compiled(pattern).search(value):
        yield f"string [{value}] does not match pattern {pattern}"


def _pattern_properties(validator: Any, patterns: dict[str, Any], value: Any, schema: dict[str, Any]) -> Iterator[Any]:
    for pattern, described in patterns.items() if isinstance(value, dict) else ():
        for name in filter(_compiled(pattern).search, value):
            yield from validator.descend(value[name], described, path=name)


def _minimum(validator: Any, least: float, value: Any, schema: dict[str, Any]) -> Iterator[str]:
    if (number := _number(value)) is not None and number < least:
        yield f"{value} is not greater or equal to {least}"


def _maximum(validator: Any, most: float, value: Any, schema: dict[str, Any]) -> Iterator[str]:
    if (number := _number(value)) is not None and number > most:
        yield f"{value} is not less or equal to {most}"


def _number(value: Any) -> float | None:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    return float(value) if isinstance(value, str) and _NUMBER.fullmatch(value) else None


@cache
def _compiled(pattern: str) -> Any:
    """Return a schema's pattern, compiled. Raise ValueError if it is invalid."""
    regex = _import("regex")  # Python's `re` has no \p{...}
    try:
        return regex.compile(pattern)
    except regex.error as error:
        raise ValueError(f"the schema's pattern {pattern} cannot be checked: {error}") from error


def problems(resource_type: str, properties: dict[str, Any]) -> list[str]:
    """Return the reasons why CloudFormation would reject a resource's properties, as "#/<path>: <reason>"."""
    schema = schema_of(resource_type)
    if schema is None:
        return [f"#: the emulator has no provider schema of {resource_type}"]
    read_only = [path for path in _names(schema, "readOnlyProperties") if path in properties]
    refused = [f"#: extraneous key [{name}] is not permitted: it is read-only" for name in read_only]
    described = {key: value for key, value in schema.items() if key not in ("$id", "required")}
    described["required"] = [name for name in schema.get("required", []) if name not in read_only]
    errors = sorted(_validator()(described).iter_errors(properties), key=lambda error: list(map(str, error.path)))
    return refused + [f"#{''.join(f'/{part}' for part in error.absolute_path)}: {error.message}" for error in errors]


def _names(schema: dict[str, Any], key: str) -> list[str]:
    """Return the top-level properties in one of a schema's lists of paths, such as readOnlyProperties."""
    paths = (path.removeprefix("/properties/") for path in schema.get(key, []))
    return [path for path in paths if "/" not in path]
