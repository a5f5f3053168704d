"""Check rules that types cannot express: spot, checkpoints, retries, encryption, images and property files."""

import json
import re
from collections.abc import Iterator
from typing import Any

from spotkit.checks.definition import JOBS, Definition, Path, Step, dotted, entries, is_function, references, split
from spotkit.checks.problems import Problem, quoted
from spotkit.checks.rulebook import AWS, each_step, rule

# Steps that run no job, so that job errors cannot be retried:
# docs.aws.amazon.com/sagemaker/latest/dg/pipelines-retry-policy.html
WITHOUT_JOB = ("Model", "RegisterModel", "EndpointConfig", "Endpoint", "InferenceComponent", "Lineage", "Cleanup")
# Instances with local NVMe disks encrypt them in hardware and reject a KMS key for them:
# docs.aws.amazon.com/sagemaker/latest/APIReference/API_ResourceConfig.html
NVME = re.compile(
    r"ml\.(g4dn|g5|g5n|g6|g6e|gr6|p3dn|p4d|p4de|p5|p5e|p5en|p6\w*|trn1|trn1n|trn2|[cmr]\d[a-z]*d|i\d\w*)\."
)
IMAGE = re.compile(
    r"(?P<account>\d{12})\.dkr\.ecr(-fips)?\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(\.cn)?/"
    r"(?P<repository>[a-z0-9]+(?:[._/-]+[a-z0-9]+)*)(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(@sha256:[0-9a-f]{64})?"
)
IMAGE_MEMBERS = ("TrainingImage", "ImageUri", "Image")


def training_jobs(step: Step) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield (path, request) for each training request of a step: a Tuning step has one or several."""
    if step.type == "Training":
        yield ("Arguments",), step.arguments
    elif step.type == "Tuning":
        if isinstance(job := step.arguments.get("TrainingJobDefinition"), dict):
            yield ("Arguments", "TrainingJobDefinition"), job
        listed = step.arguments.get("TrainingJobDefinitions")
        for place, job in enumerate(listed if isinstance(listed, list) else []):
            if isinstance(job, dict):
                yield ("Arguments", "TrainingJobDefinitions", f"[{place}]"), job


def each_training(definition: Definition) -> Iterator[tuple[Any, ...]]:
    """Yield the arguments of a rule on training requests: definition, step, path and request."""
    for step in definition.steps:
        for path, job in training_jobs(step):
            yield definition, step, path, job


@rule(
    "spot",
    "Spot training has time limits that fit each other, a place for checkpoints, and no warm pool.",
    f"{AWS}dg/model-managed-spot-training.html",
    on=each_training,
)
def spot(definition: Definition, step: Step, path: Path, job: dict[str, Any]) -> Iterator[Problem]:
    """Yield problems with managed spot training: time limits, checkpoints and warm pools."""

    def problem(what: str, *member: str) -> Problem:
        return Problem(step.name, dotted((*path, *member)), what)

    chosen = job.get("EnableManagedSpotTraining", False)
    if is_function(chosen):
        yield problem("it has to be true or false: a parameter cannot switch it.", "EnableManagedSpotTraining")
        return
    stopping, resources = job.get("StoppingCondition"), job.get("ResourceConfig")
    stopping = stopping if isinstance(stopping, dict) else {}
    wait, run = stopping.get("MaxWaitTimeInSeconds"), stopping.get("MaxRuntimeInSeconds", 86400)
    if chosen is not True:
        if wait is not None:
            yield problem(
                "only spot training waits. Remove it, or set EnableManagedSpotTraining.",
                "StoppingCondition",
                "MaxWaitTimeInSeconds",
            )
        return
    if wait is None:
        yield problem("spot training needs MaxWaitTimeInSeconds, at least MaxRuntimeInSeconds.", "StoppingCondition")
    elif isinstance(wait, int) and isinstance(run, int) and wait < run:
        yield problem(
            f"{wait} is below MaxRuntimeInSeconds, {run}. Waiting includes the run: make it at least that.",
            "StoppingCondition",
            "MaxWaitTimeInSeconds",
        )
    if "CheckpointConfig" not in job:
        yield problem("spot training without CheckpointConfig loses everything when the instance is taken.")
    if isinstance(resources, dict) and resources.get("KeepAlivePeriodInSeconds"):
        yield problem("spot instances are not kept warm. Remove it.", "ResourceConfig", "KeepAlivePeriodInSeconds")


@rule(
    "checkpoints",
    "Each run and step has a checkpoint address of its own.",
    f"{AWS}dg/model-checkpoints.html",
)
def shared_checkpoints(definition: Definition) -> Iterator[Problem]:
    """Yield checkpoint URIs that several runs or steps would share, and so resume from the state of other data."""
    seen: dict[str, str] = {}
    for step in definition.steps:
        for path, job in training_jobs(step):
            config = job.get("CheckpointConfig")
            if not isinstance(config, dict) or "S3Uri" not in config:
                continue
            where, uri = dotted((*path, "CheckpointConfig", "S3Uri")), config["S3Uri"]
            kinds = {parts[0] for _, reference in references(uri) if (parts := split(reference))}
            if not kinds & {"Steps", "Execution"}:
                yield Problem(
                    step.name,
                    where,
                    "every run would resume from it, whatever its data. Make Execution.PipelineExecutionId, or an "
                    "address that a step of the run wrote to, part of it.",
                )
            if (other := seen.setdefault(json.dumps(uri, sort_keys=True), step.name)) != step.name:
                yield Problem(step.name, where, f"step {other} has it too. Put the step's name into it.")


@rule(
    "volume-key",
    "No KMS key is given for the disk of an instance that encrypts it in hardware.",
    f"{AWS}APIReference/API_ResourceConfig.html",
    on=each_training,
)
def encryption(definition: Definition, step: Step, path: Path, job: dict[str, Any]) -> Iterator[Problem]:
    """Yield a problem for a KMS key on an instance type whose disk takes none."""
    resources = job.get("ResourceConfig")
    if isinstance(resources, dict) and "VolumeKmsKeyId" in resources:
        kind = known(definition, resources.get("InstanceType"))
        if isinstance(kind, str) and NVME.match(kind):
            yield Problem(
                step.name,
                dotted((*path, "ResourceConfig", "VolumeKmsKeyId")),
                f"{kind} encrypts its disk itself and refuses a key. Remove it.",
            )


@rule(
    "instances",
    "A training job with an image or an algorithm names the type and a positive count of its instances.",
    f"{AWS}APIReference/API_ResourceConfig.html",
    on=each_training,
)
def instances(definition: Definition, step: Step, path: Path, job: dict[str, Any]) -> Iterator[Problem]:
    """Yield a problem for a training job that has an image or algorithm but no instances to run on.

    The API model does not require ResourceConfig and allows 0 instances, because of serverless jobs.
    """
    algorithm = job.get("AlgorithmSpecification")
    if not isinstance(algorithm, dict) or not any(name in algorithm for name in ("TrainingImage", "AlgorithmName")):
        return
    members = [name for name in ("ResourceConfig", "HyperParameterTuningResourceConfig") if name in job]
    if not members:
        yield Problem(step.name, dotted(path), "ResourceConfig is missing. Name the type and the count of instances.")
    for member in members:
        config = job[member] if isinstance(job[member], dict) else {}
        yield from type_and_count(definition, step, (*path, member), config)
        for group_list in ("InstanceGroups", "InstanceConfigs"):
            for place, group in enumerate(entries(config.get(group_list))):
                yield from no_instances(definition, step, (*path, member, group_list, f"[{place}]"), group)


def type_and_count(definition: Definition, step: Step, path: Path, config: dict[str, Any]) -> Iterator[Problem]:
    """Yield a problem for a missing instance type or count, unless instance groups or preferences replace them."""
    if not any(name in config for name in ("InstanceGroups", "InstanceConfigs", "InstancePreferences")):
        missing = [name for name in ("InstanceType", "InstanceCount") if name not in config]
        if missing:
            yield Problem(
                step.name, dotted(path), f"{', '.join(missing)} missing. Name type and count of the instances."
            )
    yield from no_instances(definition, step, path, config)


def no_instances(definition: Definition, step: Step, path: Path, config: dict[str, Any]) -> Iterator[Problem]:
    """Yield a problem for an instance count of 0, or a parameter whose default or choice is 0."""
    if "InstanceCount" in config and 0 in possible(definition, config["InstanceCount"]):
        yield Problem(step.name, dotted((*path, "InstanceCount")), "0 instances train nothing. Use at least 1.")


def possible(definition: Definition, value: Any) -> list[Any]:
    """Return the values that a value may take: [value], or a parameter's default (None if it has none) and choices."""
    if is_function(value) and (parts := split(str(value.get("Get")))) and parts[0] == "Parameters":
        parameter = definition.parameter_of.get(parts[1], {})
        return [parameter.get("DefaultValue"), *(parameter.get("EnumValues") or [])]
    return [value]


def known(definition: Definition, value: Any) -> Any:
    """Return a value, or the default of the parameter that it refers to."""
    return possible(definition, value)[0]


@rule(
    "alternatives",
    "A request has one of the members of which the API requires one.",
    f"{AWS}APIReference/API_AlgorithmSpecification.html",
    on=each_step,
)
def alternatives(step: Step) -> Iterator[Problem]:
    """Yield requests with none of a set of members of which the API requires one, as TrainingImage or AlgorithmName.

    The service model marks none of them as required.
    """
    one_of = [
        (path + ("AlgorithmSpecification",), ("TrainingImage", "AlgorithmName")) for path, _ in training_jobs(step)
    ]
    if step.type == "Model":
        one_of = [(("Arguments",), ("PrimaryContainer", "Containers", "InferenceExecutionConfig"))]
        one_of += [(("Arguments", "PrimaryContainer"), ("Image", "ModelPackageName"))]
    if step.type == "EMRServerless":
        one_of = [(("Arguments",), ("ApplicationId", "ApplicationConfig"))]
    if step.type == "InferenceComponent":
        one_of = [(("Arguments",), ("Specification", "Specifications"))]
    if step.type == "RegisterModel":
        one_of = [(("Arguments",), ("InferenceSpecification", "SourceAlgorithmSpecification", "SourceUri"))]
    for path, names in one_of:
        place: Any = step.body
        for name in path:
            if isinstance(place, (dict, list)):
                place = place[int(name[1:-1])] if name.startswith("[") else place.get(name)
        if isinstance(place, dict) and not any(name in place for name in names):
            yield Problem(step.name, dotted(path), f"it needs one of {', '.join(names)}.")


@rule(
    "retries",
    "Retry policies name each exception once, and only those that the step can raise.",
    f"{AWS}dg/pipelines-retry-policy.html",
    on=each_step,
)
def retries(step: Step) -> Iterator[Problem]:
    """Yield problems with exceptions that a step cannot raise or that several retry policies name."""
    seen: set[str] = set()
    for place, policy in enumerate(step.body.get("RetryPolicies", [])):
        for name in policy["ExceptionType"]:
            where = f"RetryPolicies[{place}]"
            if name.startswith("SageMaker.") and step.type in WITHOUT_JOB:
                yield Problem(step.name, where, f"a {step.type} step runs no job, so {name} never happens. Remove it.")
            if name in seen:
                yield Problem(step.name, where, f"{name} is in a policy before it already. Keep one.")
            seen.add(name)


@rule(
    "property-files",
    "A property file is declared once, in an output that the step has.",
    f"{AWS}dg/build-and-manage-propertyfile.html",
    on=each_step,
)
def property_files(step: Step) -> Iterator[Problem]:
    """Yield problems with property files that are declared twice or belong to an output that the step lacks."""
    config = step.arguments.get("ProcessingOutputConfig")
    outputs = config.get("Outputs") if isinstance(config, dict) else None
    names = [output.get("OutputName") for output in entries(outputs)]
    seen: set[str] = set()
    for place, file in enumerate(step.body.get("PropertyFiles", [])):
        where = f"PropertyFiles[{place}]"
        if file["OutputName"] not in names:
            yield Problem(
                step.name, where, f"the step has no output {quoted(file['OutputName'])}; it has {quoted(names)}."
            )
        if file["PropertyFileName"] in seen:
            yield Problem(step.name, where, f"{file['PropertyFileName']} is declared twice. Keep one.")
        seen.add(file["PropertyFileName"])


@rule(
    "images",
    "Images are in ECR, unless a VPC leads to their registry.",
    f"{AWS}dg/build-and-manage-steps.html",
    on=each_step,
)
def images(step: Step) -> Iterator[Problem]:
    """Yield image URIs that are not in ECR. A private registry, reached through a VPC, may have any URI."""
    for path, value in members(step.own, IMAGE_MEMBERS):
        behind_vpc = any(name in json.dumps(step.arguments) for name in ("TrainingImageConfig", "RepositoryAccessMode"))
        if isinstance(value, str) and not behind_vpc and not IMAGE.fullmatch(value):
            yield Problem(
                step.name,
                dotted(path),
                f"{quoted(value)} is no image in ECR. Write <account>.dkr.ecr.<region>.amazonaws.com/<repository>:<tag>.",
            )


def members(value: Any, names: tuple[str, ...], path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Yield (path, value) for every member with one of these names, at any depth but not inside each other."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if name in names:
                yield (*path, name), inner
            else:
                yield from members(inner, names, (*path, name))
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            yield from members(inner, names, (*path, f"[{place}]"))


@rule(
    "names-and-tags",
    "Tags, inputs, outputs and channels have different names, and no tag begins with aws:.",
    f"{AWS}APIReference/API_Tag.html",
    on=each_step,
)
def names_and_tags(step: Step) -> Iterator[Problem]:
    """Yield problems with duplicate or reserved tags, and with duplicate names of inputs, outputs and channels."""
    for path, tags in members({"Arguments": step.arguments} if step.type != "Condition" else {}, ("Tags",)):
        keys = [tag.get("Key") for tag in entries(tags)]
        keys = [key for key in keys if isinstance(key, str)]
        if twice := sorted({key for key in keys if keys.count(key) > 1}):
            yield Problem(step.name, dotted(path), f"{', '.join(twice)} is given twice. Keep one.")
        if reserved := [key for key in keys if key.lower().startswith("aws:")]:
            yield Problem(step.name, dotted(path), f"{', '.join(reserved)} begins with aws:, which is AWS's own.")
    lists = {"ProcessingInputs": "InputName", "Outputs": "OutputName", "InputDataConfig": "ChannelName"}
    for path, value in members({"Arguments": step.arguments} if step.type in JOBS else {}, tuple(lists)):
        found = [entry.get(lists[path[-1]]) for entry in entries(value)]
        found = [name for name in found if isinstance(name, str)]
        if twice := sorted({name for name in found if found.count(name) > 1}):
            yield Problem(step.name, dotted(path), f"{', '.join(twice)} is used twice. Names must be unique.")
