"""Check the parameters of a definition: declared once, used, and with valid values."""

from typing import Any

from spotkit.checks.definition import Definition, references, split
from spotkit.checks.problems import Problem, quoted
from spotkit.checks.rulebook import AWS, rule

PYTHON = {"String": str, "Integer": int, "Float": (int, float), "Boolean": bool}


@rule(
    "parameters",
    "Parameters are declared once and used, and their defaults and choices are of their type.",
    f"{AWS}dg/build-and-manage-parameters.html",
)
def check(definition: Definition) -> list[Problem]:
    """Return problems with parameters that are declared twice, never used, or have an invalid default or choice.

    Overriding an unused parameter would silently change nothing.
    """
    problems = []
    used = {
        parts[1]
        for _, reference in references(definition.body)
        if (parts := split(reference)) and parts[0] == "Parameters"
    }
    seen: set[str] = set()
    for parameter in definition.parameters:
        name, where = parameter["Name"], f"Parameters.{parameter['Name']}"
        if name in seen:
            problems.append(Problem("", where, "it is declared twice. Keep one."))
        elif name not in used:
            problems.append(
                Problem(
                    "",
                    where,
                    f'nothing uses it, so that its value changes nothing. Use {{"Get": "{where}"}} or remove it.',
                )
            )
        seen.add(name)
        choices = parameter.get("EnumValues") or []
        default = [parameter["DefaultValue"]] if "DefaultValue" in parameter else []
        for value in [*default, *choices]:
            if not is_of(value, type_of(parameter)):
                problems.append(Problem("", where, f"{quoted(value)} is not of type {type_of(parameter)}."))
        if choices and default and default[0] not in choices:
            problems.append(
                Problem("", where, f"the default {quoted(default[0])} is none of its EnumValues {quoted(choices)}.")
            )
    return problems


def type_of(parameter: dict[str, Any]) -> str:
    """Return a parameter's type, by default String."""
    return parameter.get("Type", "String")


def is_of(value: Any, kind: str) -> bool:
    """Return whether a value has a parameter's type. A bool is not a number here, although it is an int in Python."""
    return isinstance(value, PYTHON[kind]) and (kind == "Boolean" or not isinstance(value, bool))
