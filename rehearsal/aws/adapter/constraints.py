"""Check parameters against AWS's service models, for services whose parameters ministack does not check."""

import re
from collections.abc import Iterator
from typing import Any

from botocore.loaders import Loader
from botocore.model import ServiceModel, Shape

_loader = Loader()
_models: dict[str, ServiceModel] = {}


def violation(service: str, operation: str, parameters: dict[str, Any], *, complete: bool = False) -> str | None:
    """Return AWS's message about parameters that violate the model of an operation, or None.

    Required members may be missing unless the parameters are `complete`.
    """
    if service not in _models:
        _models[service] = ServiceModel(_loader.load_service_model(service, "service-2"), service)
    if operation not in _models[service].operation_names:
        return None
    shape = _models[service].operation_model(operation).input_shape
    broken = list(_broken(shape, parameters, "", complete)) if shape else []
    errors = "1 validation error" if len(broken) == 1 else f"{len(broken)} validation errors"
    return f"{errors} detected: {'; '.join(broken)}" if broken else None


_CONTAINERS = {"structure": dict, "map": dict, "list": list}


def _broken(shape: Shape, value: Any, where: str, complete: bool) -> Iterator[str]:
    if not isinstance(value, _CONTAINERS.get(shape.type_name, object)):
        yield _failed(value, where, f"Member must be a {shape.type_name}")
    elif shape.type_name == "structure":
        for name in sorted(set(shape.required_members) - value.keys()) if complete else []:
            yield f"Value null at '{_join(where, name)}' failed to satisfy constraint: Member must not be null"
        for name in sorted(value.keys() & shape.members.keys()):
            yield from _broken(shape.members[name], value[name], _join(where, name), complete)
    elif shape.type_name == "list":
        yield from _outside(shape, value, where, len(value), "length")
        for number, member in enumerate(value, 1):
            yield from _broken(shape.member, member, f"{where}.{number}.member", complete)
    elif shape.type_name == "map":
        yield from _outside(shape, value, where, len(value), "length")
    elif shape.type_name == "string" and isinstance(value, str):
        yield from _outside(shape, value, where, len(value), "length")
        # Patterns with Unicode classes (\p{...}), which Python's `re` lacks, are not checked.
        pattern = shape.metadata.get("pattern", "")
        if shape.enum and value not in shape.enum:
            yield _failed(value, where, f"Member must satisfy enum value set: [{', '.join(shape.enum)}]")
        elif pattern and "\\p{" not in pattern and not re.fullmatch(pattern, value):
            yield _failed(value, where, f"Member must satisfy regular expression pattern: {pattern}")
    elif shape.type_name in ("integer", "long") and str(value).lstrip("-").isdigit():  # a string in forms and templates
        yield from _outside(shape, value, where, int(value), "value")


def _outside(shape: Shape, value: Any, where: str, size: int, measure: str) -> Iterator[str]:
    low, high = shape.metadata.get("min"), shape.metadata.get("max")
    if low is not None and size < low:
        yield _failed(value, where, f"Member must have {measure} greater than or equal to {low}")
    if high is not None and size > high:
        yield _failed(value, where, f"Member must have {measure} less than or equal to {high}")


def _failed(value: Any, where: str, rule: str) -> str:
    return f"Value '{value}' at '{where}' failed to satisfy constraint: {rule}"


def _join(where: str, name: str) -> str:
    name = name[:1].lower() + name[1:]
    return f"{where}.{name}" if where else name
