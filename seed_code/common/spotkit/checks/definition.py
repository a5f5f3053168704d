"""A parsed pipeline definition: all its steps, including nested ones, its parameters and its references."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from spotkit.checks.service import Service

# Arguments that hold nested lists of steps, by the type of the step that holds them.
NESTED = {"Condition": ("IfSteps", "ElseSteps"), "ForEach": ("ForEachBody",)}
JOBS = ("Processing", "Training", "Tuning", "Transform", "AutoML", "QualityCheck", "ClarifyCheck")
REFERENCE = re.compile(r"(Parameters|Execution|Steps|ForEach|IterationOutput)\.([A-Za-z0-9_-]+)(.*)", re.DOTALL)
Path = tuple[str, ...]


@dataclass(frozen=True)
class Step:
    """A step and the branches that it is nested in, outermost first.

    Each branch is (name of the holding step, "IfSteps", "ElseSteps" or "ForEachBody").
    """

    body: dict[str, Any]
    branches: tuple[tuple[str, str], ...] = ()

    @property
    def name(self) -> str:
        return self.body["Name"]

    @property
    def type(self) -> str:
        return self.body["Type"]

    @property
    def arguments(self) -> dict[str, Any]:
        return self.body.get("Arguments") or {}

    @property
    def depends_on(self) -> list[str]:
        """Names in DependsOn, whose entries are either a name or {"Step": name, "Trigger": ...}."""
        entries = self.body.get("DependsOn", [])
        return [entry if isinstance(entry, str) else entry["Step"] for entry in entries]

    @property
    def own(self) -> dict[str, Any]:
        """The step's body without the steps nested in its arguments."""
        if self.type not in NESTED:
            return self.body
        arguments = {name: value for name, value in self.arguments.items() if name not in NESTED[self.type]}
        return {**self.body, "Arguments": arguments}


class Definition:
    """A definition of valid shape, indexed for the checks."""

    def __init__(self, body: dict[str, Any], service: Service):
        self.body = body
        self.service = service
        self.parameters = body.get("Parameters") or []
        self.steps = list(steps_below(body["Steps"]))
        self.parameter_of = {parameter["Name"]: parameter for parameter in self.parameters}
        self.step_of = {step.name: step for step in self.steps}
        self.place = {name: place for place, name in enumerate(self.step_of)}

    def order(self, name: str) -> int:
        """Return a step's position, the sort key of its problems; -1 for problems outside the steps."""
        return self.place.get(name, -1)


def steps_below(steps: list[dict[str, Any]], branches: tuple[tuple[str, str], ...] = ()) -> Iterator[Step]:
    """Yield steps and the steps nested in them, depth first in the order of the definition."""
    for body in steps:
        step = Step(body, branches)
        yield step
        for branch in NESTED.get(step.type, ()):
            yield from steps_below(step.arguments.get(branch) or [], (*branches, (step.name, branch)))


def is_function(value: Any) -> bool:
    """Return whether a value is a pipeline function, which is resolved only when the pipeline runs."""
    return isinstance(value, dict) and len(value) == 1 and next(iter(value)) in ("Get", "Std:Join", "Std:JsonGet")


def references(value: Any, path: Path = ()) -> Iterator[tuple[Path, str]]:
    """Yield every {"Get": reference} in a value as (path to it, reference)."""
    if isinstance(value, dict):
        if set(value) == {"Get"} and isinstance(value["Get"], str):
            yield path, value["Get"]
            return
        for name, inner in value.items():
            yield from references(inner, (*path, name))
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            yield from references(inner, (*path, f"[{place}]"))


def entries(value: Any) -> list[dict[str, Any]]:
    """Return the dicts in `value` if it is a list, else []."""
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def split(reference: str) -> tuple[str, str, str] | None:
    """Split a reference into kind, name and rest; return None if it is not a reference.

    "Steps.Train.ModelArtifacts" gives ("Steps", "Train", ".ModelArtifacts").
    """
    found = REFERENCE.fullmatch(reference)
    return (found.group(1), found.group(2), found.group(3)) if found else None


def dotted(path: Path) -> str:
    """Format a path for messages, as in Arguments.ProcessingInputs[0].S3Input."""
    return ".".join(path).replace(".[", "[")
