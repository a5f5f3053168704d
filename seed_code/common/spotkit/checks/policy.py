"""Check that a definition uses only what its project owns or what the project's template allows besides."""

import re
from collections.abc import Callable, Iterator
from typing import Any

from spotkit.checks.definition import Definition, Step, dotted, entries, is_function
from spotkit.checks.problems import Problem, quoted
from spotkit.checks.project import Project
from spotkit.checks.rulebook import Find, each_step, rule, whole
from spotkit.checks.rules import IMAGE, IMAGE_MEMBERS, members, training_jobs
from spotkit.checks.service import UNCHECKED
from spotkit.checks.types import UNKNOWN

ADDRESS = re.compile(r"s3://([^/]*)")
ROLE_MEMBERS = ("RoleArn", "ExecutionRoleArn", "executionRoleArn", "JobFlowRole", "ServiceRole", "ValidationRole")
KEY_MEMBERS = ("VolumeKmsKeyId", "KmsKeyId", "KMSKeyId")
# Steps whose requests must carry the project's tags: jobs do not inherit the pipeline's.
TAGGED = ("Processing", "Training", "Tuning", "Transform", "AutoML", "QualityCheck", "ClarifyCheck")
# Paths in the arguments to the object with the network settings. Training requests have theirs at the top level.
NETWORKS: dict[str, tuple[str, ...]] = {
    "Model": (), "Processing": ("NetworkConfig",), "QualityCheck": ("NetworkConfig",), "ClarifyCheck": ("NetworkConfig",),
    "AutoML": ("AutoMLJobConfig", "SecurityConfig"),
}  # fmt: skip
# Steps that the pipeline role in templates/project.yaml has no permissions for.
WITHOUT_RIGHTS = ("Callback", "Cleanup", "EMR", "EMRServerless", "InferenceComponent", "Job", "Lineage", *UNCHECKED)
SOURCE = "templates/project.yaml"  # of the bundle: the role of the pipeline, and the parameters
TIME_LIMITS = {"Processing": "MaxRuntimeInSeconds", "Training": "MaxRuntimeInSeconds"}


def own(name: str, sentence: str, on: Callable[..., Any] = each_step) -> Callable[[Find], Find]:
    """Register a function of a Step, or of what `on` yields, and a Project as a rule that cannot be silenced."""
    return rule(name, sentence, SOURCE, on, of_project=True)


def arguments_of(step: Step) -> dict[str, Any]:
    """Return a step's arguments under their name, so that paths begin with it."""
    return {"Arguments": step.own.get("Arguments") or {}}


def not_owned(step: str, path: tuple[str, ...], value: Any, own: str) -> Problem:
    """Return a problem with a value that is not `own`, or that a function would fill in only at run time."""
    if is_function(value):
        return Problem(step, dotted(path), f"it is known only at run time. Write {own} itself.")
    return Problem(step, dotted(path), f"{quoted(value)} is not this project's. Use {own}.")


@own("own-roles", "Steps use the project's role.")
def roles(step: Step, project: Project) -> Iterator[Problem]:
    for path, value in members(arguments_of(step), ROLE_MEMBERS):
        if value != project.role:
            yield not_owned(step.name, path, value, project.role)


@own("own-keys", "Steps use the project's KMS key, or none if it has none.")
def keys(step: Step, project: Project) -> Iterator[Problem]:
    for path, value in members(arguments_of(step), KEY_MEMBERS):
        if value != project.key:
            yield not_owned(step.name, path, value, project.key or "no key")


@own("own-images", "Images are AWS's own, in the project's region, or in repositories that the template allows.")
def images(step: Step, project: Project) -> Iterator[Problem]:
    for path, value in members(arguments_of(step), IMAGE_MEMBERS):
        found = IMAGE.fullmatch(value) if isinstance(value, str) else None
        if not found:
            yield not_owned(step.name, path, value, "an image in ECR")
        elif found["account"] != project.registry and not allowed_repository(found, project):
            yield not_owned(step.name, path, value, f"an image of account {project.registry}, where AWS keeps its own")
        elif found["region"] != project.region:
            yield Problem(
                step.name, dotted(path), f"{quoted(value)} is not in {project.region}, where the job would pull it."
            )


def allowed_repository(image: re.Match[str], project: Project) -> bool:
    """Return whether the template allows an image's repository, ignoring the partition, which no image URI names."""
    arn = f":ecr:{image['region']}:{image['account']}:repository/{image['repository']}"
    return any(repository.endswith(arn) for repository in project.repositories)


@own("own-addresses", "S3 addresses are in the project's bucket, or in those that the template allows.", whole)
def addresses(definition: Definition, project: Project) -> Iterator[Problem]:
    """Yield problems with S3 URIs of other buckets, in any string of a parameter or a step."""
    allowed = (project.bucket, *project.buckets)
    own = f"s3://{', s3://'.join(allowed)}"
    defaults = {entry.get("Name"): entry.get("DefaultValue") for entry in definition.parameters}

    def texts(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
        if isinstance(value, str):
            yield path, value
        elif (text := joined(value, defaults)) is not None:
            yield path, text
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
                if bucket not in allowed and UNKNOWN not in bucket:
                    yield not_owned(step, path, text.replace(UNKNOWN, "..."), own)


def joined(value: Any, defaults: dict[Any, Any]) -> str | None:
    """Return what a Std:Join results in with the parameters' defaults, UNKNOWN for the rest; None for other values."""
    given = value.get("Std:Join") if is_function(value) else None
    if not isinstance(given, dict) or not isinstance(given.get("On"), str) or not isinstance(given.get("Values"), list):
        return None

    def text(part: Any) -> str:
        if not is_function(part):
            return str(part)
        name = str(part.get("Get", "")).partition("Parameters.")[2]
        default = defaults.get(name)
        return (joined(part, defaults) or UNKNOWN) if default is None else str(default)

    return given["On"].join(map(text, given["Values"]))


@own("own-group", "Models are registered into the project's model group.")
def groups(step: Step, project: Project) -> Iterator[Problem]:
    """Yield problems with the model package group, given by name or ARN, that a step registers into."""
    given = (
        [(("ModelPackageGroupName",), step.body["ModelPackageGroupName"])]
        if "ModelPackageGroupName" in step.body
        else []
    )
    for path, value in [*members(arguments_of(step), ("ModelPackageGroupName",)), *given]:
        name = value.rpartition("/")[2] if isinstance(value, str) else value
        if value is not None and name != project.model_group:
            yield not_owned(step.name, path, value, project.model_group)
    if step.type == "RegisterModel" and "ModelPackageGroupName" not in step.arguments:
        yield Problem(step.name, "Arguments", f"ModelPackageGroupName is missing. Use {project.model_group}.")


@own("own-network", "Jobs and models are in the project's VPC, and isolated where it asks for that.")
def networks(step: Step, project: Project) -> Iterator[Problem]:
    """Yield problems with jobs and models outside the project's VPC or without the network isolation it asks for."""
    own = {"Subnets": sorted(project.subnets), "SecurityGroupIds": sorted(project.security_groups)}
    for path, holder in holders(step):
        given = holder.get("VpcConfig")
        lists = {name: given.get(name) for name in own} if isinstance(given, dict) else {}
        named = {name: sorted(ids) for name, ids in lists.items() if is_texts(ids)}
        if project.subnets and named != own:
            subnets, groups = ", ".join(project.subnets), ", ".join(project.security_groups)
            yield not_owned(step.name, (*path, "VpcConfig"), given, f"subnets {subnets} with security groups {groups}")
        elif given is not None and not project.subnets:
            yield not_owned(step.name, (*path, "VpcConfig"), given, "no VPC")
        if project.isolated and step.type == "AutoML":
            yield Problem(step.name, "Type", "AutoML jobs have a network, and this project's have none. Use Training.")
        elif project.isolated and holder.get("EnableNetworkIsolation") is not True:
            where, value = dotted((*path, "EnableNetworkIsolation")), quoted(holder.get("EnableNetworkIsolation"))
            yield Problem(step.name, where, f"it is {value}. Write true: this project's jobs have no network.")


def holders(step: Step) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """Yield (path, object) for each object in a step's arguments that has network settings; {} if it is missing."""
    yield from training_jobs(step)
    if step.type in NETWORKS:
        holder: Any = step.arguments
        for name in NETWORKS[step.type]:
            holder = holder.get(name) if isinstance(holder, dict) else None
        yield ("Arguments", *NETWORKS[step.type]), holder if isinstance(holder, dict) else {}


def is_texts(value: Any) -> bool:
    """Return whether a value is a list of strings."""
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


@own("own-tags", "Jobs have the project's tags, which they do not inherit from the pipeline.")
def tags(step: Step, project: Project) -> Iterator[Problem]:
    """Yield a problem for each of the project's tags that a job lacks: jobs do not inherit the pipeline's."""
    if step.type not in TAGGED:
        return
    wanted = {tag["Key"]: tag["Value"] for tag in project.tags}
    tagged = [(tag.get("Key"), tag.get("Value")) for tag in entries(step.arguments.get("Tags"))]
    given = {key: value for key, value in tagged if isinstance(key, str)}
    for key, value in wanted.items():
        if given.get(key) != value:
            yield Problem(
                step.name, "Arguments.Tags", f"{key} is {quoted(given.get(key))}, not {value!r}. Tag the job with it."
            )


@own("own-time-limits", "Jobs have a maximum runtime.")
def time_limits(step: Step, project: Project) -> Iterator[Problem]:
    """Yield a problem for a job without a maximum runtime."""
    if member := TIME_LIMITS.get(step.type):
        stopping = step.arguments.get("StoppingCondition")
        if not isinstance(stopping, dict) or member not in stopping:
            yield Problem(
                step.name, "Arguments.StoppingCondition", f"{member} is missing. Say how long it may run at most."
            )


@own(
    "own-rights",
    "Steps call the functions that the template allows, and are of types that the role has permissions for.",
)
def functions_and_step_types(step: Step, project: Project) -> Iterator[Problem]:
    """Yield problems with functions that the template does not allow and steps that the role has no permissions for."""
    if step.type == "Lambda" and step.body["FunctionArn"] not in project.functions:
        yield not_owned(step.name, ("FunctionArn",), step.body["FunctionArn"], "a function that the template allows")
    if step.type in WITHOUT_RIGHTS:
        yield Problem(step.name, "Type", f"a project has no rights for {step.type} steps. Use a Processing step.")
