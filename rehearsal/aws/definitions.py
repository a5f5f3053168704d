"""Check that a pipeline definition is valid and can be emulated. Like AWS, do so when it is created or updated.

docs.aws.amazon.com/sagemaker/latest/dg/define-pipeline.html; the schema is aws-sagemaker-mlops.github.io's
sagemaker-model-building-pipeline-definition-JSON-schema.
"""

import graphlib
import json
import re
from typing import Any

from rehearsal.aws.protocol import not_emulated

DEFINITION = ("Version", "Metadata", "Parameters", "PipelineExperimentConfig", "Steps")
EVERY_STEP = ("Name", "Type", "Arguments", "DependsOn", "DisplayName", "Description")
# Further members of each emulated step type. Two have no effect here: RetryPolicies, which are for faults of AWS that
# the emulator does not have, and the ExpireAfter of a CacheConfig, which is longer than a rehearsal.
STEPS: dict[str, tuple[str, ...]] = {
    "Condition": (),
    "Fail": (),
    "Processing": ("CacheConfig", "RetryPolicies", "PropertyFiles"),
    "RegisterModel": ("RetryPolicies",),
    "Training": ("CacheConfig", "RetryPolicies"),
    "Tuning": ("CacheConfig", "RetryPolicies"),
}
COMPARISONS = ("Equals", "GreaterThan", "GreaterThanOrEqualTo", "LessThan", "LessThanOrEqualTo")
CONDITIONS = (*COMPARISONS, "In", "Not", "Or")


def check(definition: dict[str, Any]) -> None:
    """Raise ValueError for what AWS rejects, and AwsError, with the name, for what is not emulated.

    May also raise KeyError or TypeError for a malformed definition.
    """
    if unknown := [name for name in definition if name not in DEFINITION]:
        raise ValueError(f"Unknown members: {', '.join(unknown)}.")
    steps = all_steps(definition["Steps"])
    check_graph(steps)
    for step in steps:
        check_step(step)
    declared = {parameter["Name"] for parameter in definition.get("Parameters", [])}
    used = set(re.findall(r'"Get": "Parameters\.([A-Za-z0-9_-]+)"', json.dumps(definition["Steps"])))
    if undeclared := used - declared:
        raise ValueError(f"Parameters that are not declared: {', '.join(sorted(undeclared))}.")


def check_step(step: dict[str, Any]) -> None:
    """Raise AwsError for a step whose type, members or conditions are not emulated."""
    if step["Type"] not in STEPS:
        raise not_emulated(f"steps of type {step['Type']}, as {step['Name']}")
    allowed = (*EVERY_STEP, *STEPS[step["Type"]])
    if unknown := [name for name in step if name not in allowed]:
        raise not_emulated(f"{', '.join(unknown)} of step {step['Name']}")
    if any(isinstance(entry, dict) for entry in step.get("DependsOn", [])):
        raise not_emulated(f"dependencies by trigger, in DependsOn of step {step['Name']}")
    for condition in all_conditions(step["Arguments"].get("Conditions", [])) if step["Type"] == "Condition" else []:
        if condition["Type"] not in CONDITIONS:
            raise not_emulated(f"conditions of type {condition['Type']}, as in step {step['Name']}")


def all_steps(steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the steps, each condition followed by the steps in its branches."""
    found = []
    for step in steps:
        found.append(step)
        if step["Type"] == "Condition":
            found += all_steps(step["Arguments"].get("IfSteps", [])) + all_steps(step["Arguments"].get("ElseSteps", []))
    return found


def all_conditions(conditions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the conditions, followed by those nested in them (by Or and Not)."""
    inner = [
        other
        for condition in conditions
        for other in (*condition.get("Conditions", []), *([condition["Condition"]] if "Condition" in condition else []))
    ]
    return conditions + (all_conditions(inner) if inner else [])


def check_graph(every: list[dict[str, Any]]) -> None:
    """Raise ValueError unless the steps have unique names and form a directed acyclic graph."""
    names = [step["Name"] for step in every]
    if len(names) != len(set(names)):
        raise ValueError("Step names are not unique.")
    graph = {step["Name"]: dependencies(step) for step in every}
    if unknown := {name for needed in graph.values() for name in needed} - set(names):
        raise ValueError(f"Unknown steps are depended on: {', '.join(sorted(unknown))}.")
    graphlib.TopologicalSorter(graph).prepare()  # its CycleError is a ValueError


def dependencies(step: dict[str, Any]) -> set[str]:
    """Return the names of the steps that a step waits for: those in DependsOn, and those whose values it references.

    For a condition, references in its branches count; its branches' own steps do not.
    """
    own = {inner["Name"] for inner in all_steps([step])}
    referred = set(re.findall(r'"Get": "Steps\.([A-Za-z0-9_-]+)\.', json.dumps(step)))
    named = {entry for entry in step.get("DependsOn", []) if isinstance(entry, str)}
    return (referred | named) - own
