"""Check deploy/<stage>.json against endpoint.yaml for what CloudFormation would reject when a model is approved.

python -m spotkit.checks.deployment deploy

The template is spotkit/deploy/endpoint.yaml, or the team's own in deploy/.
"""

import difflib
import json
import os
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from spotkit.checks.problems import quoted
from spotkit.checks.reading import without_duplicates

STAGES = ("staging", "production")
TEMPLATE = "endpoint.yaml"
OURS = Path(__file__).parent.parent / "deploy" / TEMPLATE
# Parameters that lambda/deploy_model.py sets for every stage, and those that it sets only for a project in a VPC.
FILLED_IN = ("ProjectName", "ProjectId", "Stage", "ModelPackageArn", "EndpointRoleArn")
OF_VPC = ("SubnetIds", "SecurityGroupIds")
Parameters = dict[str, dict[str, Any]]


def check(folder: Path, in_vpc: bool = False) -> list[str]:
    """Return the problems of the template and of each stage's parameters, one line each."""
    source = folder / TEMPLATE if (folder / TEMPLATE).exists() else OURS
    template = read_template(source)
    parameters = template.get("Parameters") or {}
    wanted = (*FILLED_IN, *(OF_VPC if in_vpc else ()))
    problems = [
        f"{source}: it has no parameter {name}, which a deployment fills in. Declare it."
        for name in wanted
        if name not in parameters
    ]
    names = {path.name for path in folder.glob("*.json")} | {f"{stage}.json" for stage in STAGES}
    for path in sorted(folder / name for name in names):
        problems += [f"{path}: {problem}" for problem in stage_problems(path, parameters, instance_types(template))]
    return problems


def read_template(path: Path) -> dict[str, Any]:
    """Read a template with cfn-lint's parser. Raises ValueError if it is missing or does not parse."""
    from cfnlint.decode import decode

    if not path.exists():
        raise ValueError(f"{path} is missing. Restore it: a deployment is made from it.")
    template, matches = decode(str(path))
    if template is None:
        raise ValueError("; ".join(f"{path}:{match.linenumber}: {match.message}" for match in matches))
    return template


def stage_problems(path: Path, parameters: Parameters, types: set[str]) -> Iterator[str]:
    """Yield the problems of one stage's file: not a JSON object, unknown or missing keys, invalid values."""
    if path.stem not in STAGES:
        yield f"there is no stage {path.stem}; there is {', '.join(STAGES)}. Remove the file."
        return
    try:
        values = read_parameters(path)
    except ValueError as error:
        yield str(error)
        return
    for name, value in values.items():
        if name not in parameters:
            yield unknown(name, parameters)
        elif name in (*FILLED_IN, *OF_VPC):
            yield f"{name}: a deployment fills it in. Remove it."
        elif problem := value_problem(value, parameters[name], name in types):
            yield f"{name}: {problem}"
    for name, parameter in parameters.items():
        if name not in (*values, *FILLED_IN, *OF_VPC) and "Default" not in parameter:
            yield f"{name} is missing, and {TEMPLATE} gives it no default. Set it."


def read_parameters(path: Path) -> dict[str, Any]:
    """Read a stage's parameters. Raises ValueError if the file is missing or is not a JSON object."""
    if not path.exists():
        raise ValueError("the file is missing. Write {} where every default is right.")
    try:
        values = json.loads(path.read_bytes(), object_pairs_hook=without_duplicates)
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8: {error.reason} at {error.start}.") from error
    except RecursionError as error:
        raise ValueError("it is nested too deep. Write one object of names and texts.") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"it is not JSON: {error}.") from error
    if not isinstance(values, dict):
        raise ValueError(f'{quoted(values)} is not an object. Write {{"InstanceType": "ml.m5.large"}}.')
    return values


def unknown(name: str, parameters: Parameters) -> str:
    near = difflib.get_close_matches(name, parameters, 1)
    return f"{name}: {TEMPLATE} has no such parameter.{f' Is it {near[0]}?' if near else ''}"


def value_problem(value: Any, parameter: dict[str, Any], is_type: bool) -> str | None:
    """Return what is wrong with a parameter's value by CloudFormation's rules, or None.

    docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/parameters-section-structure.html
    """
    if not isinstance(value, str):
        return f"{quoted(value)} is not text. CloudFormation takes text only: write {json.dumps(str(value))}."
    if "AllowedValues" in parameter and value not in [str(allowed) for allowed in parameter["AllowedValues"]]:
        return f"{quoted(value)} is not one of {', '.join(map(str, parameter['AllowedValues']))}."
    if "AllowedPattern" in parameter and not re.fullmatch(parameter["AllowedPattern"], value):
        return f"{quoted(value)} does not match {parameter['AllowedPattern']}. {parameter.get('ConstraintDescription', '')}"
    if parameter.get("Type") == "Number":
        return number_problem(value, parameter)
    least, most = int(parameter.get("MinLength", 0)), int(parameter.get("MaxLength", len(value)))
    if not least <= len(value) <= most:
        return f"{quoted(value)} has {len(value)} characters, not {least} to {most}."
    if is_type and value not in endpoint_types():
        near = (
            [f"ml.{value}"]
            if f"ml.{value}" in endpoint_types()
            else difflib.get_close_matches(value, endpoint_types(), 1)
        )
        return f"{quoted(value)} is no instance type of an endpoint.{f' Is it {near[0]}?' if near else ''}"
    return None


def number_problem(text: str, parameter: dict[str, Any]) -> str | None:
    if not re.fullmatch(r"-?\d+(\.\d+)?", text):
        return f"{quoted(text)} is not a number."
    if "MinValue" in parameter and float(text) < float(parameter["MinValue"]):
        return f"{text} is below {parameter['MinValue']}."
    if "MaxValue" in parameter and float(text) > float(parameter["MaxValue"]):
        return f"{text} is above {parameter['MaxValue']}."
    return None


def instance_types(value: Any) -> set[str]:
    """Return the names of parameters that the template refers to as an InstanceType."""
    found: set[str] = set()
    for name, inner in (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    ):
        if name == "InstanceType" and isinstance(inner, dict) and isinstance(inner.get("Ref"), str):
            found.add(inner["Ref"])
        found |= instance_types(inner)
    return found


@cache
def endpoint_types() -> list[str]:
    """Return the instance types that botocore knows for endpoints."""
    import botocore.session

    model = botocore.session.get_session().get_service_model("sagemaker")
    return model.shape_for("ProductionVariantInstanceType").enum


def main(arguments: list[str]) -> str | None:
    """Return the error messages or the usage for sys.exit, or None if nothing is wrong."""
    if len(arguments) != 1:
        return __doc__
    try:
        problems = check(Path(arguments[0]), bool(os.environ.get("PROJECT_SUBNET_IDS")))
    except ValueError as error:
        problems = [str(error)]
    if problems:
        return "\n".join(f"error: {problem}" for problem in problems)
    print(f"{arguments[0]}: {', '.join(STAGES)}, nothing wrong")
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
