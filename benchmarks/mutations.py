"""Mutate valid pipeline definitions at random: the check must reject each mutation, unless it is harmless.

    .venv/bin/python -m benchmarks.mutations [10000]

A mutation is harmless if the definition still passes a simulated run: the steps can be ordered, every reference can be
resolved, and botocore's validation accepts each request. The simulated run shares no code with the check, except for
its tables of step types.
"""

import copy
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

import botocore.session
from botocore.validate import ParamValidator
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.measuring import progress, show
from benchmarks.public_definitions import PUBLIC
from spotkit import checks
from spotkit.checks.service import NAMED_BY_PIPELINES, SAGEMAKER

VALID = {"ours": json.loads((ROOT / "pipeline_json/nlp.json").read_text()), **{name: PUBLIC[name]() for name in PUBLIC}}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**6), 10**6) | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=20), inner, max_size=4),
    max_leaves=20,
)
THEIRS = checks.Project("theirs", "p-theirs", "theirs", "theirs", "arn:theirs", "us-east-1", "111122223333")
QUIET = {"deadline": None, "derandomize": True, "suppress_health_check": list(HealthCheck)}


def places(value: Any, path: tuple = ()) -> Iterator[tuple]:
    """Yield the path, as keys and indices, of every value nested in `value`."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, member in inner:
        yield (*path, name)
        yield from places(member, (*path, name))


@st.composite
def mutated(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a valid definition and change it in one place. A change that does not fit the place changes nothing."""
    definition = copy.deepcopy(VALID[draw(st.sampled_from(sorted(VALID)))])
    path = draw(st.sampled_from(list(places(definition))))
    holder: Any = definition
    for part in path[:-1]:
        holder = holder[part]
    name = path[-1]
    change = draw(st.sampled_from(["remove", "replace", "rename", "repeat", "refer", "spoil", "negate"]))
    if change == "remove":
        del holder[name]
    elif change == "replace":
        holder[name] = draw(JSON)
    elif change == "rename" and isinstance(holder, dict):
        holder[f"{name}{draw(st.sampled_from('sx_'))}"] = holder.pop(name)
    elif change == "repeat" and isinstance(holder, list):
        holder.append(copy.deepcopy(holder[name]))
    elif change == "refer":
        known = sorted(set(re.findall(r'"Get": "([^"]+)"', json.dumps(definition))))
        holder[name] = {"Get": draw(st.sampled_from([*known, "Parameters.None", "Steps.None.Arn", "Execution.None"]))}
    elif change == "spoil" and isinstance(holder[name], str):
        holder[name] += draw(st.sampled_from(["x", " ", "/", "-", "0"]))
    elif change == "negate" and isinstance(holder[name], (int, float)):
        holder[name] = -holder[name]
    return definition


class Runs:
    """A simulated run of a definition: orders the steps, resolves every reference, and validates each request.

    Raises AssertionError, KeyError, TypeError or AttributeError if the definition could not run.
    """

    def __init__(self, definition: dict[str, Any]):
        self.model = botocore.session.get_session().get_service_model("sagemaker")
        self.parameters = {
            entry["Name"]: entry.get(
                "DefaultValue", {"Integer": 1, "Float": 1.0, "Boolean": True}.get(entry.get("Type"), "x")
            )
            for entry in definition.get("Parameters") or []
        }
        self.steps: dict[str, dict[str, Any]] = {}
        self.list(definition["Steps"])

    def list(self, steps: list[dict[str, Any]]) -> None:
        """Run each step after the steps that it needs. Raise AssertionError if no such order exists."""
        pending = list(steps)
        while pending:
            ready = next((step for step in pending if self.needs(step) <= self.steps.keys()), None)
            assert ready, f"{[step['Name'] for step in pending]} can never run"
            pending.remove(ready)
            assert ready["Name"] not in self.steps, f"{ready['Name']} stands there twice"
            self.steps[ready["Name"]] = ready
            self.one(ready)

    def needs(self, step: dict[str, Any]) -> set[str]:
        """Return the names of the steps that a step depends on, without what only its branches refer to."""
        own = {**step, "Arguments": {k: v for k, v in step["Arguments"].items() if k not in ("IfSteps", "ElseSteps")}}
        named = {entry if isinstance(entry, str) else entry["Step"] for entry in step.get("DependsOn", [])}
        return named | set(re.findall(r'"Get": "Steps\.([A-Za-z0-9_-]+)', json.dumps(own)))

    def one(self, step: dict[str, Any]) -> None:
        """Run one step."""
        if step["Type"] == "Condition":
            for condition in step["Arguments"]["Conditions"]:
                self.filled(condition)
            before = dict(self.steps)  # steps outside a branch may not refer to steps in it
            for branch in ("IfSteps", "ElseSteps"):
                self.list(step["Arguments"].get(branch, []))
                self.steps = dict(before)
        elif step["Type"] == "Fail":
            assert isinstance(self.filled(step["Arguments"]["ErrorMessage"]), str)
        else:
            kind = {"QualityCheck": "Processing", "ClarifyCheck": "Processing"}.get(step["Type"], step["Type"])
            request = self.filled(step["Arguments"])
            request.setdefault(NAMED_BY_PIPELINES.get(kind, "ModelPackageGroupName"), "name")
            report = ParamValidator().validate(request, self.model.operation_model(SAGEMAKER[kind][0]).input_shape)
            assert not report.has_errors(), report.generate_report()

    def filled(self, value: Any) -> Any:
        """Return a value with every reference and function in it replaced by a plausible result."""
        if isinstance(value, list):
            return [self.filled(member) for member in value]
        if not isinstance(value, dict):
            return value
        if set(value) == {"Get"}:
            return self.get(value["Get"])
        if set(value) == {"Std:Join"}:
            parts = [self.filled(part) for part in value["Std:Join"]["Values"]]
            assert all(isinstance(part, (str, int, float)) for part in parts)
            return value["Std:Join"]["On"].join(map(str, parts))
        if set(value) == {"Std:JsonGet"}:
            assert value["Std:JsonGet"]["Path"]
            name, file = re.fullmatch(
                r"Steps\.([^.]+)\.PropertyFiles\.(.+)", value["Std:JsonGet"]["PropertyFile"]["Get"]
            ).groups()
            assert file in [entry["PropertyFileName"] for entry in self.steps[name]["PropertyFiles"]]
            return 0.5
        return {name: self.filled(member) for name, member in value.items()}

    def get(self, reference: str) -> Any:
        """Return a plausible value for a reference; for a step's property, follow the response shapes of its APIs."""
        kind, name, rest = re.fullmatch(r"(Parameters|Execution|Steps)\.([A-Za-z0-9_-]+)(.*)", reference).groups()
        if kind == "Parameters":
            assert not rest
            return self.parameters[name]
        if kind == "Execution":
            assert name in ("PipelineExecutionId", "PipelineName")
            return "id"
        assert rest
        if self.steps[name]["Type"] in ("QualityCheck", "ClarifyCheck", "Condition", "AutoML"):
            return "s3://bucket/key"
        for operation in SAGEMAKER[self.steps[name]["Type"]][1]:
            shape: Any = self.model.operation_model(operation).output_shape
            for member, entry in re.findall(r"\.(\w+)|(\[[^\]]+\])", rest):
                shape = shape.member if entry else shape.members.get(member) if shape.type_name == "structure" else None
                if shape is None:
                    break
            else:
                return {"string": "s3://bucket/key", "integer": 1, "long": 1}.get(shape.type_name, {})
        raise AssertionError(f"{reference} leads nowhere")


def harmless(definition: dict[str, Any]) -> str:
    """Return why a definition could not run, or "" if it could."""
    try:
        Runs(definition)
    except (AssertionError, KeyError, TypeError, AttributeError) as error:
        return repr(error)
    return ""


def storm(examples: int) -> Counter:
    """Count how many of `examples` mutations were caught, harmless, or missed (neither)."""
    counts: Counter = Counter()

    @settings(max_examples=examples, database=None, **QUIET)
    @given(mutated())
    def judge(definition: dict[str, Any]) -> None:
        assert checks.check(definition, THEIRS)  # another project's definition must never pass
        end = "caught" if checks.check(definition) else "missed" if harmless(definition) else "harmless"
        counts[end] += 1
        if sum(counts.values()) % 1000 == 0:
            progress(f"  {sum(counts.values())} of {examples}")

    judge()
    return counts


def main() -> int:
    counts = storm(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
    rows = [(sum(counts.values()), counts["caught"], counts["harmless"], counts["missed"])]
    show(("changed definitions", "caught", "harmless", "missed"), rows)
    return 1 if counts["missed"] else 0


if __name__ == "__main__":
    sys.exit(main())
