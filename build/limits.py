"""Check values against a template's parameters: a running project may have values from before a limit was added."""

import re
from collections.abc import Iterator, Mapping
from typing import Any


def misfits(declared: Mapping[str, Mapping[str, Any]], values: Mapping[str, str]) -> list[str]:
    """Return a line for each value that its parameter does not allow: name, value, and what is required.

    `declared` is the Parameters section of a template; `values` are those of a stack. Names that the template does not
    declare are ignored: the caller has to handle them.
    """
    return [
        f"{name} is {value!r}: {' and '.join(reasons)}"
        for name, value in values.items()
        if name in declared and (reasons := list(refusals(declared[name], value)))
    ]


def refusals(parameter: Mapping[str, Any], value: str) -> Iterator[str]:
    """Yield each reason for which CloudFormation would reject a parameter's value.

    docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/parameters-section-structure.html
    """
    if "MaxLength" in parameter and len(value) > int(parameter["MaxLength"]):
        yield f"it has {len(value)} characters, and at most {parameter['MaxLength']} are allowed"
    if "AllowedValues" in parameter and value not in (allowed := [str(each) for each in parameter["AllowedValues"]]):
        yield f"one of {', '.join(allowed)} is needed"
    if "AllowedPattern" in parameter and not re.fullmatch(parameter["AllowedPattern"], value):
        yield str(parameter.get("ConstraintDescription", f"it has to match {parameter['AllowedPattern']}")).rstrip(".")
