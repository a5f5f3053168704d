"""Whose things a definition uses: its project's, or what the project's template allows besides, and nothing else."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from checks.definition import Definition, Step, entries, is_function, shown
from checks.problems import Problem, told
from checks.rules import IMAGE, IMAGE_MEMBERS, members, training_jobs
from checks.service import UNCHECKED

ADDRESS = re.compile(r"s3://([^/]*)")
ROLE_MEMBERS = ("RoleArn", "ExecutionRoleArn", "executionRoleArn", "JobFlowRole", "ServiceRole", "ValidationRole")
KEY_MEMBERS = ("VolumeKmsKeyId", "KmsKeyId", "KMSKeyId")
# Steps whose requests carry tags, and steps that run as somebody.
TAGGED = ("Processing", "Training", "Tuning", "Transform", "AutoML", "QualityCheck", "ClarifyCheck")
# Where a step's arguments say which network it is in, besides those of trainings.
NETWORKS: dict[str, tuple[str, ...]] = {
    "Model": (), "Processing": ("NetworkConfig",), "QualityCheck": ("NetworkConfig",), "ClarifyCheck": ("NetworkConfig",),
    "AutoML": ("AutoMLJobConfig", "SecurityConfig"),
}  # fmt: skip
# Steps for which templates/project.yaml gives a project's pipeline no rights.
WITHOUT_RIGHTS = ("Callback", "Cleanup", "EMR", "EMRServerless", "InferenceComponent", "Job", "Lineage", *UNCHECKED)
TIME_LIMITS = {"Processing": "MaxRuntimeInSeconds", "Training": "MaxRuntimeInSeconds"}


@dataclass(frozen=True)
class Project:
    """What a project owns, and what it may use besides.

    `buckets` (names) come on top of its own, `repositories` (ARNs) on top of what the account `registry` has, where AWS
    keeps its framework images; `functions` are ARNs that Lambda steps may call, `key` is the one KMS key. Jobs are in
    `subnets` and have `security_groups` where there are any, and are `isolated` from every network where that is asked.
    """

    name: str
    id: str
    bucket: str
    model_group: str
    role: str
    region: str
    registry: str
    buckets: tuple[str, ...] = ()
    repositories: tuple[str, ...] = ()
    functions: tuple[str, ...] = ()
    key: str = ""
    subnets: tuple[str, ...] = ()
    security_groups: tuple[str, ...] = ()
    isolated: bool = False


def check(definition: Definition, project: Project) -> list[Problem]:
    """What is neither the project's own nor allowed to it."""
    problems: list[Problem] = []
    for step in definition.steps:
        body = {"Arguments": step.own.get("Arguments") or {}}
        problems += roles(step, body, project)
        problems += keys(step, body, project)
        problems += images(step, body, project)
        problems += groups(step, body, project)
        problems += networks(step, project)
        problems += tags(step, project)
        problems += time_limits(step)
        problems += others(step, project)
    return [*problems, *addresses(definition, project)]


def foreign(step: str, path: tuple[str, ...], value: Any, own: str) -> Problem:
    """A problem in the words that all of these have."""
    if is_function(value):
        return Problem(step, shown(path), f"it is known only at run time. Write {own} itself.")
    return Problem(step, shown(path), f"{told(value)} is not this project's. Use {own}.")


def roles(step: Step, body: dict[str, Any], project: Project) -> Iterator[Problem]:
    for path, value in members(body, ROLE_MEMBERS):
        if value != project.role:
            yield foreign(step.name, path, value, project.role)


def keys(step: Step, body: dict[str, Any], project: Project) -> Iterator[Problem]:
    for path, value in members(body, KEY_MEMBERS):
        if value != project.key:
            yield foreign(step.name, path, value, project.key or "no key")


def images(step: Step, body: dict[str, Any], project: Project) -> Iterator[Problem]:
    for path, value in members(body, IMAGE_MEMBERS):
        found = IMAGE.fullmatch(value) if isinstance(value, str) else None
        if not found:
            yield foreign(step.name, path, value, "an image in ECR")
        elif found["account"] != project.registry and not allowed_repository(found, project):
            yield foreign(step.name, path, value, f"an image of account {project.registry}, where AWS keeps its own")
        elif found["region"] != project.region:
            yield Problem(
                step.name, shown(path), f"{told(value)} is not in {project.region}, where the job would pull it."
            )


def allowed_repository(image: re.Match[str], project: Project) -> bool:
    """Whether an image is out of a repository that the template allows, whatever its partition."""
    arn = f":ecr:{image['region']}:{image['account']}:repository/{image['repository']}"
    return any(repository.endswith(arn) for repository in project.repositories)


def addresses(definition: Definition, project: Project) -> Iterator[Problem]:
    """Every address in S3, wherever it stands: parameters' defaults, environments and arguments too."""
    allowed = (project.bucket, *project.buckets)
    own = f"s3://{', s3://'.join(allowed)}"

    def texts(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
        if isinstance(value, str):
            yield path, value
        elif isinstance(value, dict):
            for name, inner in value.items():
                yield from texts(inner, (*path, name))
        elif isinstance(value, list):
            for place, inner in enumerate(value):
                yield from texts(inner, (*path, f"[{place}]"))

    scopes = [("", {"Parameters": definition.parameters})]
    scopes += [(step.name, {key: step.own[key] for key in step.own if key != "Name"}) for step in definition.steps]
    for step, scope in scopes:
        for path, text in texts(scope):
            for bucket in ADDRESS.findall(text):
                if bucket not in allowed:
                    yield foreign(step, path, text, own)


def groups(step: Step, body: dict[str, Any], project: Project) -> Iterator[Problem]:
    """The model package group that a model goes into, by name or by ARN."""
    given = (
        [(("ModelPackageGroupName",), step.body["ModelPackageGroupName"])]
        if "ModelPackageGroupName" in step.body
        else []
    )
    for path, value in [*members(body, ("ModelPackageGroupName",)), *given]:
        name = value.rpartition("/")[2] if isinstance(value, str) else value
        if value is not None and name != project.model_group:
            yield foreign(step.name, path, value, project.model_group)
    if step.type == "RegisterModel" and "ModelPackageGroupName" not in step.arguments:
        yield Problem(step.name, "Arguments", f"ModelPackageGroupName is missing. Use {project.model_group}.")


def networks(step: Step, project: Project) -> Iterator[Problem]:
    """The network of whatever runs: the project's subnets and security groups, and none at all where that is asked."""
    own = {"Subnets": sorted(project.subnets), "SecurityGroupIds": sorted(project.security_groups)}
    for path, holder in holders(step):
        given = holder.get("VpcConfig")
        lists = {name: given.get(name) for name in own} if isinstance(given, dict) else {}
        named = {name: sorted(ids) for name, ids in lists.items() if is_texts(ids)}
        if project.subnets and named != own:
            subnets, groups = ", ".join(project.subnets), ", ".join(project.security_groups)
            yield foreign(step.name, (*path, "VpcConfig"), given, f"subnets {subnets} with security groups {groups}")
        elif given is not None and not project.subnets:
            yield foreign(step.name, (*path, "VpcConfig"), given, "no VPC")
        if project.isolated and step.type == "AutoML":
            yield Problem(step.name, "Type", "AutoML jobs have a network, and this project's have none. Use Training.")
        elif project.isolated and holder.get("EnableNetworkIsolation") is not True:
            where, value = shown((*path, "EnableNetworkIsolation")), told(holder.get("EnableNetworkIsolation"))
            yield Problem(step.name, where, f"it is {value}. Write true: this project's jobs have no network.")


def holders(step: Step) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """The parts of a step's arguments that say which network it is in, with their places; empty where there is none."""
    yield from training_jobs(step)
    if step.type in NETWORKS:
        holder: Any = step.arguments
        for name in NETWORKS[step.type]:
            holder = holder.get(name) if isinstance(holder, dict) else None
        yield ("Arguments", *NETWORKS[step.type]), holder if isinstance(holder, dict) else {}


def is_texts(value: Any) -> bool:
    """Whether it is a list of texts."""
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def tags(step: Step, project: Project) -> Iterator[Problem]:
    """The project's tags on whatever costs money: jobs do not inherit the pipeline's."""
    if step.type not in TAGGED:
        return
    wanted = {"sagemaker:project-name": project.name, "sagemaker:project-id": project.id}
    tagged = [(tag.get("Key"), tag.get("Value")) for tag in entries(step.arguments.get("Tags"))]
    given = {key: value for key, value in tagged if isinstance(key, str)}
    for key, value in wanted.items():
        if given.get(key) != value:
            yield Problem(
                step.name, "Arguments.Tags", f"{key} is {told(given.get(key))}, not {value!r}. Tag the job with it."
            )


def time_limits(step: Step) -> Iterator[Problem]:
    """No job without an end."""
    if member := TIME_LIMITS.get(step.type):
        stopping = step.arguments.get("StoppingCondition")
        if not isinstance(stopping, dict) or member not in stopping:
            yield Problem(
                step.name, "Arguments.StoppingCondition", f"{member} is missing. Say how long it may run at most."
            )


def others(step: Step, project: Project) -> Iterator[Problem]:
    """Functions and queues that the pipeline would call, and clusters, which no project has."""
    if step.type == "Lambda" and step.body["FunctionArn"] not in project.functions:
        yield foreign(step.name, ("FunctionArn",), step.body["FunctionArn"], "a function that the template allows")
    if step.type in WITHOUT_RIGHTS:
        yield Problem(step.name, "Type", f"a project has no rights for {step.type} steps. Use a Processing step.")
