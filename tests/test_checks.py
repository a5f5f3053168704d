"""The check of definitions: it reports what AWS would refuse, with the place, and nothing else."""

import copy
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from typing import Any

import botocore.session
import pytest
from test_definitions import TUNING, definition_with

from benchmarks.public_definitions import PUBLIC
from build import ROOT, VARIANTS, definitions
from build.assemble import git
from spotkit import checks
from spotkit.checks.service import Service, pattern_of
from spotkit.checks.types import EXECUTION

RELEASES = tomllib.loads((ROOT / "build/releases.toml").read_text())
Change = Callable[[dict[str, Any]], Any]


def told(definition: Any, project: checks.Project | None = None) -> list[str]:
    return [str(problem) for problem in checks.check(definition, project)]


def ours() -> dict[str, Any]:
    return json.loads((ROOT / "pipeline_json/nlp.json").read_text())


@pytest.fixture(scope="module")
def sdk() -> dict[str, Any]:
    """Return a definition with the step types that no seed uses, written by the SageMaker SDK."""
    command = [sys.executable, str(ROOT / "tests/sdk_definition.py")]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def step(definition: dict[str, Any], name: str) -> dict[str, Any]:
    """Return a step by name, from the list of steps or a branch of a condition."""
    pending = list(definition["Steps"])
    while pending:
        body = pending.pop()
        if body["Name"] == name:
            return body
        arguments = body.get("Arguments") or {}
        pending += arguments.get("IfSteps", []) + arguments.get("ElseSteps", [])
    raise AssertionError(f"no step {name}")


# --- no false positives -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", VARIANTS)
def test_our_own_definitions_have_nothing_wrong(variant):
    definition = checks.read((ROOT / f"pipeline_json/{variant}.json").read_bytes())

    assert told(definition, EXAMPLE) == []


@pytest.mark.parametrize("variant", ["cv", "nlp"])
@pytest.mark.parametrize("release", RELEASES)
def test_the_definitions_of_a_release_have_nothing_wrong_today(release, variant):
    text = git("show", f"{RELEASES[release]}:pipeline_json/{variant}.json")

    assert told(checks.read(text.encode()), EXAMPLE) == []


@pytest.mark.parametrize("release", RELEASES)
def test_the_variables_that_the_builds_of_a_release_read_are_still_set(release):
    read = set(
        git("grep", "-hoE", "PROJECT_[A-Z_]+|PIPELINE_ROLE_ARN", RELEASES[release], "--", "seed_code/*.py").split()
    )
    template = (ROOT / "templates/project.yaml").read_text()

    assert len(read) > 8
    assert {name for name in read if f"Name: {name}\n" not in template} == set()


@pytest.mark.parametrize(
    "section, chosen, tuning",
    [
        ("compute", {"mode": "on_demand"}, None),
        ("compute", {"mode": "compare", "processing_instance_count": 3}, None),
        ("gate", {"allowed_drop": 0.02}, None),
        ("compute", {"mode": "spot"}, TUNING),
        ("compute", {"mode": "on_demand"}, TUNING),
    ],
    ids=["on-demand", "compare", "challenger", "tuning", "tuning-on-demand"],
)
def test_a_seed_in_another_mode_has_nothing_wrong(tmp_path, section, chosen, tuning):
    assert told(definition_with(tmp_path, "cv", section, tuning, **chosen), EXAMPLE) == []


@pytest.mark.parametrize("name", PUBLIC)
def test_what_the_documentation_shows_has_nothing_wrong(name):
    assert told(PUBLIC[name]()) == []


def test_what_the_sdk_writes_of_the_other_steps_has_nothing_wrong(sdk):
    types = {body["Type"] for body in sdk["Steps"]}

    assert types == {
        "Lambda", "Callback", "EMR", "Transform", "EndpointConfig", "Endpoint", "Condition", "EMRServerless", "ForEach",
        "InferenceComponent", "Lineage", "Cleanup",
    }  # fmt: skip
    assert told(sdk) == []


# Member of botocore's PipelineExecutionStepMetadata -> step type in a definition, where the two names differ.
METADATA = {
    "TrainingJob": "Training", "ProcessingJob": "Processing", "TransformJob": "Transform", "TuningJob": "Tuning",
    "AutoMLJob": "AutoML",
}  # fmt: skip


def test_every_type_of_step_that_the_sdk_and_botocore_know_is_known():
    code = "from sagemaker.mlops.workflow.steps import StepTypeEnum; print(*(kind.value for kind in StepTypeEnum))"
    command = [sys.executable, "-W", "ignore", "-c", code]
    environment = {**os.environ, "AWS_DEFAULT_REGION": "us-east-1"}
    of_sdk = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.split()
    model = botocore.session.get_session().get_service_model("sagemaker")
    of_botocore = {METADATA.get(name, name) for name in model.shape_for("PipelineExecutionStepMetadata").members}

    schema = json.loads((ROOT / "seed_code/common/spotkit/checks/schema.json").read_text())
    assert set(schema["$defs"]["Step"]["properties"]["Type"]["enum"]) == {*of_sdk, *of_botocore}


@pytest.mark.parametrize(
    "body",
    [
        {"Type": "Athena", "Arguments": {"QueryString": "select 1"}},
        {
            "Type": "Job",
            "Arguments": {
                "RoleArn": "arn:aws:iam::111122223333:role/job", "JobCategory": "AgentRFT",
                "JobConfigSchemaVersion": "1.0.0", "JobConfigDocument": "{}",
            },
        },
        {"Type": "Fail", "Arguments": {"ErrorMessage": "x"}, "DependsOn": [{"Step": "Train", "Trigger": "Failed"}]},
        {"Type": "Fail", "Arguments": {"ErrorMessage": {"Get": "Steps.Gate.Outcome"}}},
        *({"Type": "Fail", "Arguments": {"ErrorMessage": {"Get": f"Execution.{name}"}}} for name in EXECUTION),
    ],
    ids=lambda body: json.dumps(body)[-40:],
)  # fmt: skip
def test_what_pipelines_can_do_besides_is_known(body):
    definition = ours()
    definition["Steps"].append({"Name": "More", **body})

    assert told(definition) == []


def test_a_parameter_without_a_type_is_text():
    definition = ours()
    kinds = {entry["Name"]: entry.pop("Type") for entry in definition["Parameters"] if entry["Type"] == "String"}
    problems = told(definition)
    default("InputData", 3)(definition)

    assert len(kinds) > 2
    assert (problems, told(definition)[0]) == ([], "Parameters.InputData: 3 is not of type String.")


def test_every_pattern_of_the_service_but_those_for_any_xml_text_is_understood():
    patterns = {shape["pattern"] for shape in Service.load().shapes.values() if "pattern" in shape}

    assert len(patterns) > 60
    assert {text[:14] for text in patterns if pattern_of(text) is None} == {"[\\u0020-\\uD7FF"}


# --- one mistake each --------------------------------------------------------------------------------------------------

IMAGE = "763104351884.dkr.ecr.us-east-1.amazonaws.com/huggingface-pytorch-training:2.9.0"


def change(name: str, *path: str | int, to: Any = None, without: bool = False) -> Change:
    """Return a change that sets or deletes one value below a step's body, or below the definition if `name` is empty.

    `to` is the new value, or a function that returns it for the old one.
    """

    def apply(definition: dict[str, Any]) -> None:
        place: Any = step(definition, name) if name else definition
        for part in path[:-1]:
            place = place[part]
        if without:
            del place[path[-1]]
        else:
            place[path[-1]] = to(place.get(path[-1])) if callable(to) else to

    return apply


def again(*names: str) -> Change:
    """Return a change that appends copies of steps to the top-level list."""
    return lambda definition: definition["Steps"].extend(copy.deepcopy([step(definition, name) for name in names]))


def appended(value: Any) -> Callable[[list[Any]], list[Any]]:
    return lambda there: [*(there or []), value]


def arguments(name: str, *path: str | int, **options: Any) -> Change:
    return change(name, "Arguments", *path, **options)


def default(name: str, value: Any, **more: Any) -> Change:
    """Return a change that sets the default of a parameter, and more of its members."""

    def apply(definition: dict[str, Any]) -> None:
        next(entry for entry in definition["Parameters"] if entry["Name"] == name).update(DefaultValue=value, **more)

    return apply


def several(*changes: Change) -> Change:
    return lambda definition: [apply(definition) for apply in changes]


def get(path: str) -> dict[str, str]:
    return {"Get": path}


def join(*values: Any) -> dict[str, Any]:
    return {"Std:Join": {"On": "", "Values": list(values)}}


# Uses the instance parameters elsewhere too, so that removing them from ResourceConfig does not make them unused.
USED = arguments(
    "Train",
    "HyperParameters",
    "instances",
    to=join(get("Parameters.TrainingInstanceType"), get("Parameters.TrainingInstanceCount")),
)
STATIC = "s3://sagemaker-p-example-111122223333/checkpoints"
OWN_STATIC = join(STATIC, get("Execution.PipelineExecutionId"))
LOOKUP = {"PropertyFile": get("Steps.Evaluate.PropertyFiles.Evaluation"), "Path": "gate.value"}
NO_CACHE = {"Enabled": True, "ExpireAfter": "a month"}
POLICY = {"ExceptionType": ["Step.THROTTLING"], "MaxAttempts": 2}

# name: (a change to our own definition, the one problem that must then be reported)
MISTAKES: dict[str, tuple[Change, str]] = {
    # shape
    "version": (change("", "Version", to="2021-01-01"), "Version: '2021-01-01' is not '2020-12-01'."),
    "no-steps": (change("", "Steps", to=[]), "Steps: it has 0 entries, fewer than 1."),
    "unknown-member": (change("", "Stepps", to=[]), "has no place for 'Stepps'."),
    "step-without-name": (change("Train", "Name", without=True), "Steps[1]: Name is missing."),
    "step-name": (change("Evaluate", "Name", to="Eva luate"), "step Eva luate, Name: 'Eva luate' does not match"),
    "step-type": (change("Train", "Type", to="Train"), "step Train, Type: 'Train' is not one of Athena, AutoML, "),
    "step-member": (change("Train", "Cache", to={}), "step Train: has no place for 'Cache'."),
    "no-arguments": (change("Train", "Arguments", without=True), "step Train: Arguments is missing."),
    "arguments-list": (change("Train", "Arguments", to=[]), "step Train, Arguments: [] is not an object"),
    "description": (
        change("Train", "Description", to="x" * 3073),
        "Description: it has 3073 characters, more than 3072.",
    ),
    "depends-on": (change("Train", "DependsOn", to="Preprocess"), "DependsOn: 'Preprocess' is not a list."),
    "trigger": (
        change("Train", "DependsOn", to=[{"Step": "Preprocess", "Trigger": "Late"}]),
        "step Train, DependsOn[0]: {'Step': 'Preprocess', 'Trigger': 'Late'} is none, or several, of the forms",
    ),
    "condition-type": (
        arguments("Gate", "Conditions", 0, "Type", to="AtLeast"),
        "step Gate, Arguments.Conditions[0].Type: 'AtLeast' is not one of Equals",
    ),
    "condition-member": (
        arguments("Gate", "Conditions", 0, "RightValue", without=True),
        "step Gate, Arguments.Conditions[0]: RightValue is missing.",
    ),
    "no-conditions": (arguments("Gate", "Conditions", to=[]), "Arguments.Conditions: it has 0 entries, fewer than 1."),
    "no-message": (arguments("Fail", "ErrorMessage", without=True), "step Fail, Arguments: ErrorMessage is missing."),
    "parameter-type": (
        lambda d: d["Parameters"][0].update(Type="Text"),
        "Parameters[0].Type: 'Text' is not one of String, Integer, Float, Boolean.",
    ),
    "too-many-parameters": (
        lambda d: d["Parameters"].extend({"Name": f"P{n}", "Type": "String"} for n in range(200)),
        "Parameters: it has 209 entries, more than 200.",
    ),
    "retry-attempts": (
        change("Train", "RetryPolicies", 0, "MaxAttempts", to=21),
        "step Train, RetryPolicies[0].MaxAttempts: 21 is above 20.",
    ),
    "retry-both": (
        change("Train", "RetryPolicies", 0, "ExpireAfterMin", to=5),
        "A retry policy has either MaxAttempts (1 to 20) or ExpireAfterMin (1 to 14400).",
    ),
    "retry-exception": (
        change("Train", "RetryPolicies", 0, "ExceptionType", to=["SPOT"]),
        "RetryPolicies[0].ExceptionType[0]: 'SPOT' is not one of Step.SERVICE_FAULT",
    ),
    "retry-on-a-gate": (change("Gate", "RetryPolicies", to=[POLICY]), "step Gate: has no place for 'RetryPolicies'."),
    "cache-duration": (change("Train", "CacheConfig", to=NO_CACHE), "'a month' does not match"),
    "cache-on-a-registration": (
        change("Register", "CacheConfig", to={"Enabled": True}),
        "step Register: has no place for 'CacheConfig'.",
    ),
    # parameters
    "declared-twice": (
        lambda d: d["Parameters"].append({"Name": "Epochs", "Type": "Integer"}),
        "Parameters.Epochs: it is declared twice. Keep one.",
    ),
    "unused": (
        lambda d: d["Parameters"].append({"Name": "Momentum", "Type": "Float"}),
        "Parameters.Momentum: nothing uses it, so that its value changes nothing.",
    ),
    "undeclared": (
        arguments("Train", "HyperParameters", "momentum", to=join(get("Parameters.Momentum"))),
        "step Train, Arguments.HyperParameters.momentum: there is no parameter Momentum; there is InputData, ",
    ),
    "default-type": (default("Epochs", "3"), "Parameters.Epochs: '3' is not of type Integer."),
    "default-boolean": (default("Epochs", True), "Parameters.Epochs: True is not of type Integer."),
    "default-choice": (
        default("ApprovalStatus", "Approved", EnumValues=["Rejected"]),
        "Parameters.ApprovalStatus: the default 'Approved' is none of its EnumValues ['Rejected'].",
    ),
    # graph
    "repeated": (again("Preprocess"), "step Preprocess: the name is used 2 times."),
    "in-list-and-branch": (again("Register"), "step Register: the name is used in the list and in a branch."),
    "unknown-step": (
        change("Evaluate", "DependsOn", to=["Trian"]),
        "step Evaluate, DependsOn[0]: there is no step 'Trian'; there is Preprocess, Train, Evaluate, Gate",
    ),
    "circle": (
        change("Preprocess", "DependsOn", to=["Evaluate"]),
        "it waits for itself: ",
    ),
    "waits-for-itself": (change("Preprocess", "DependsOn", to=["Preprocess"]), "Preprocess -> Preprocess"),
    "after-the-end": (
        change("Register", "DependsOn", to=["Fail"]),
        "step Register, DependsOn[0]: Fail ends the run; nothing comes after it.",
    ),
    "out-of-a-branch": (
        lambda d: d["Steps"].append(
            {
                "Name": "Late",
                "Type": "Fail",
                "Arguments": {"ErrorMessage": get("Steps.Register.ModelPackageArn")},
            }
        ),
        "step Late, Arguments.ErrorMessage: Register stands in IfSteps of Gate, and may never run.",
    ),
    # types
    "unknown-argument": (
        arguments("Train", "ResourceConfig", "InstanceTyp", to="ml.m5.large"),
        "step Train, Arguments.ResourceConfig.InstanceTyp: the request has no such member. Is it InstanceType?",
    ),
    "missing-argument": (arguments("Train", "RoleArn", without=True), "step Train, Arguments: RoleArn is missing."),
    "null-argument": (arguments("Train", "VpcConfig", to=None), "Arguments.VpcConfig: it is null. Leave it out."),
    "text-for-a-number": (
        arguments("Train", "ResourceConfig", "VolumeSizeInGB", to="50"),
        "Arguments.ResourceConfig.VolumeSizeInGB: '50' is not a whole number.",
    ),
    "number-for-text": (arguments("Train", "HyperParameters", "seed", to=3), "HyperParameters.seed: 3 is not text."),
    "object-for-a-list": (
        arguments("Train", "Tags", to={"Step": "Train"}),
        "Arguments.Tags: {'Step': 'Train'} is not a list",
    ),
    "below-the-least": (
        arguments("Evaluate", "ProcessingResources", "ClusterConfig", "InstanceCount", to=0),
        "ClusterConfig.InstanceCount: 0 is below 1, the least that the API takes.",
    ),
    "default-below-the-least": (
        default("TrainingInstanceCount", -1),
        "ResourceConfig.InstanceCount: Parameters.TrainingInstanceCount: -1 is below 0, the least",
    ),
    "no-instances": (
        several(USED, arguments("Train", "ResourceConfig", "InstanceCount", to=0)),
        "step Train, Arguments.ResourceConfig.InstanceCount: 0 instances train nothing. Use at least 1.",
    ),
    "default-of-no-instances": (
        default("TrainingInstanceCount", 0),
        "step Train, Arguments.ResourceConfig.InstanceCount: 0 instances train nothing.",
    ),
    "group-of-no-instances": (
        arguments(
            "Train",
            "ResourceConfig",
            "InstanceGroups",
            to=[{"InstanceGroupName": "a", "InstanceType": "ml.g5.xlarge", "InstanceCount": 0}],
        ),
        "step Train, Arguments.ResourceConfig.InstanceGroups[0].InstanceCount: 0 instances train nothing.",
    ),
    "nothing-to-train-on": (
        several(USED, arguments("Train", "ResourceConfig", without=True)),
        "step Train, Arguments: ResourceConfig is missing. Name the type and the count of instances.",
    ),
    "no-type-to-train-on": (
        several(USED, arguments("Train", "ResourceConfig", "InstanceType", without=True)),
        "step Train, Arguments.ResourceConfig: InstanceType missing. Name type and count of the instances.",
    ),
    "short-bucket": (
        arguments("Train", "OutputDataConfig", "S3OutputPath", to="s3://ab/out"),
        "S3OutputPath: 's3://ab/out' is not an address in S3. The bucket's name 'ab' has 2 characters; names have 3 to 63.",
    ),
    "short-bucket-of-a-parameter": (
        default("InputData", "s3://x/data"),
        "Parameters.InputData is 's3://x/data', not an address in S3. The bucket's name 'x' has 1 characters",
    ),
    "current-item-outside": (
        arguments("Train", "HyperParameters", "item", to=get("ForEach.CurrentItem")),
        "HyperParameters.item: only a step in the ForEachBody of a ForEach step has a current item.",
    ),
    "instance-type": (
        arguments("Evaluate", "ProcessingResources", "ClusterConfig", "InstanceType", to="ml.g4dn.xlagre"),
        "InstanceType: 'ml.g4dn.xlagre' is none of the API's. Is it ml.g4dn.xlarge?",
    ),
    "default-instance-type": (
        default("TrainingInstanceType", "g4dn.xlarge"),
        "Parameters.TrainingInstanceType: 'g4dn.xlarge' is none of the API's. Is it ml.g4dn.xlarge?",
    ),
    "choice-of-a-parameter": (
        default("ApprovalStatus", "Approved", EnumValues=["Approved", "Maybe"]),
        "ModelApprovalStatus: Parameters.ApprovalStatus: 'Maybe' is none of the API's.",
    ),
    "pattern": (arguments("Train", "RoleArn", to="pipeline-role"), "Arguments.RoleArn: "),
    "long-argument": (
        arguments("Evaluate", "AppSpecification", "ContainerArguments", to=["x" * 257]),
        "ContainerArguments[0]: it has 257 characters, more than 256.",
    ),
    "hyperparameters": (
        arguments("Train", "HyperParameters", to=lambda there: there | {f"h{n}": "1" for n in range(98)}),
        "Arguments.HyperParameters: it has 101 entries, more than 100.",
    ),
    "not-in-pipelines": (
        arguments("Register", "CertifyForMarketplace", to=False),
        "step Register, Arguments.CertifyForMarketplace: the request has no such member.",
    ),
    # references
    "no-reference": (
        arguments("Train", "HyperParameters", "epochs", to=get("Epochs")),
        "'Epochs' is no reference. Write Parameters.<name>, Execution.<name> or Steps.<step>.<member>.",
    ),
    "reference-to-no-step": (
        arguments("Evaluate", "Environment", "TRAIN_SECONDS", to=get("Steps.Trian.RoleArn")),
        "TRAIN_SECONDS: there is no step Trian; there is Preprocess, Train, Evaluate, Gate",
    ),
    "reference-to-no-member": (
        arguments("Evaluate", "Environment", "TRAIN_SECONDS", to=get("Steps.Train.RoleArm")),
        "step Train has no RoleArm. Is it RoleArn?",
    ),
    "reference-to-no-output": (
        arguments(
            "Evaluate",
            "ProcessingInputs",
            1,
            "S3Input",
            "S3Uri",
            to=get("Steps.Preprocess.ProcessingOutputConfig.Outputs['tset'].S3Output.S3Uri"),
        ),
        "step Preprocess.ProcessingOutputConfig.Outputs has no tset; there is train, validation, test, report.",
    ),
    "reference-to-no-variable": (
        arguments("Evaluate", "Environment", "RUN", to=get("Execution.Id")),
        "Environment.RUN: an execution has no Id; there is StartDateTime",
    ),
    "broken-path": (
        arguments("Evaluate", "Environment", "RUN", to=get("Steps.Train.Tags[")),
        "'.Tags[' is no path into step Train. Write .Member, [0] or ['name'].",
    ),
    "integer-for-text": (
        arguments("Train", "HyperParameters", "epochs", to=get("Parameters.Epochs")),
        "Parameters.Epochs is a whole number; the value here must be text. Make it text with Std:Join, in the SDK to_string().",
    ),
    "text-for-an-integer": (
        arguments("Train", "ResourceConfig", "VolumeSizeInGB", to=get("Parameters.InputData")),
        "Parameters.InputData is text; the value here must be a whole number.",
    ),
    "object-for-text": (
        arguments("Evaluate", "Environment", "TRAIN_SECONDS", to=get("Steps.Train.ResourceConfig")),
        "Steps.Train.ResourceConfig is an object; the API takes text here.",
    ),
    "join-of-an-object": (
        arguments("Evaluate", "Environment", "TRAIN_SECONDS", to=join(get("Steps.Train.ResourceConfig"))),
        "Std:Join cannot write Steps.Train.ResourceConfig as text.",
    ),
    "join-without-values": (
        arguments("Evaluate", "Environment", "TRAIN_SECONDS", to={"Std:Join": {"On": ""}}),
        "Std:Join takes On and Values, not {'On': ''}.",
    ),
    "lookup-in-no-file": (
        arguments(
            "Gate",
            "Conditions",
            0,
            "LeftValue",
            to={"Std:JsonGet": LOOKUP | {"PropertyFile": get("Steps.Evaluate.PropertyFiles.Evaluatoin")}},
        ),
        "LeftValue: step Evaluate has no property file Evaluatoin; there is Evaluation.",
    ),
    "lookup-without-path": (
        arguments("Gate", "Conditions", 0, "LeftValue", to={"Std:JsonGet": LOOKUP | {"Path": ""}}),
        "Std:JsonGet takes the path of a value",
    ),
    "compared-with-text": (
        arguments(
            "Gate",
            "Conditions",
            to=appended({"Type": "GreaterThan", "LeftValue": get("Parameters.Epochs"), "RightValue": "3"}),
        ),
        "step Gate, Arguments.Conditions[1].RightValue: text is compared with a number, and never equals it.",
    ),
    "more-than-true": (
        arguments(
            "Gate",
            "Conditions",
            to=appended({"Type": "LessThan", "LeftValue": True, "RightValue": get("Parameters.Epochs")}),
        ),
        "Conditions[1].LeftValue: True is true or false, which is neither more nor less than another.",
    ),
    "s3-address": (
        arguments(
            "Train",
            "OutputDataConfig",
            "S3OutputPath",
            to=join("sagemaker-p-example/", get("Execution.PipelineExecutionId")),
        ),
        "S3OutputPath: this Join is ",
    ),
    "s3-bucket": (
        default("InputData", "s3://Sagemaker_Bucket/data"),
        "Parameters.InputData is 's3://Sagemaker_Bucket/data', not an address in S3.",
    ),
    "name-for-an-arn": (
        arguments("Train", "RoleArn", to=get("Execution.PipelineName")),
        "Arguments.RoleArn: Execution.PipelineName: it has 4 characters, fewer than 20.",
    ),
    "other-text-for-an-arn": (
        arguments("Train", "RoleArn", to=get("Steps.Preprocess.ProcessingJobName")),
        "Arguments.RoleArn: Steps.Preprocess.ProcessingJobName is no ARN, which has to stand here.",
    ),
    "address-of-no-bucket": (
        arguments("Train", "OutputDataConfig", "S3OutputPath", to=join(get("Execution.PipelineName"), "/out")),
        "S3OutputPath: this Join is 'name/out', not an address in S3.",
    ),
    # rules
    "spot-by-parameter": (
        several(
            lambda d: d["Parameters"].append({"Name": "Spot", "Type": "Boolean", "DefaultValue": True}),
            arguments("Train", "EnableManagedSpotTraining", to=get("Parameters.Spot")),
        ),
        "EnableManagedSpotTraining: it has to be true or false: a parameter cannot switch it.",
    ),
    "wait-below-run": (
        arguments("Train", "StoppingCondition", "MaxWaitTimeInSeconds", to=60),
        "MaxWaitTimeInSeconds: 60 is below MaxRuntimeInSeconds, 14400.",
    ),
    "no-wait": (
        arguments("Train", "StoppingCondition", "MaxWaitTimeInSeconds", without=True),
        "StoppingCondition: spot training needs MaxWaitTimeInSeconds, at least MaxRuntimeInSeconds.",
    ),
    "wait-without-spot": (
        arguments("Train", "EnableManagedSpotTraining", to=False),
        "MaxWaitTimeInSeconds: only spot training waits.",
    ),
    "no-checkpoint": (
        arguments("Train", "CheckpointConfig", without=True),
        "spot training without CheckpointConfig loses everything when the instance is taken.",
    ),
    "warm-spot": (
        arguments("Train", "ResourceConfig", "KeepAlivePeriodInSeconds", to=600),
        "KeepAlivePeriodInSeconds: spot instances are not kept warm.",
    ),
    "one-checkpoint-for-all-runs": (
        arguments("Train", "CheckpointConfig", "S3Uri", to=STATIC),
        "CheckpointConfig.S3Uri: every run would resume from it, whatever its data.",
    ),
    "one-checkpoint-for-two-steps": (
        lambda d: d["Steps"].append({**copy.deepcopy(step(d, "Train")), "Name": "TrainAgain"}),
        "step TrainAgain, Arguments.CheckpointConfig.S3Uri: step Train has it too.",
    ),
    "key-for-an-nvme-disk": (
        arguments("Train", "ResourceConfig", "VolumeKmsKeyId", to="alias/ours"),
        "VolumeKmsKeyId: ml.g4dn.xlarge encrypts its disk itself and refuses a key.",
    ),
    "retry-without-a-job": (
        change(
            "Register", "RetryPolicies", to=appended({"ExceptionType": ["SageMaker.CAPACITY_ERROR"], "MaxAttempts": 2})
        ),
        "step Register, RetryPolicies[1]: a RegisterModel step runs no job, so SageMaker.CAPACITY_ERROR never happens.",
    ),
    "retry-twice": (
        change("Train", "RetryPolicies", to=appended(POLICY)),
        "step Train, RetryPolicies[2]: Step.THROTTLING is in a policy before it already.",
    ),
    "file-of-no-output": (
        change("Evaluate", "PropertyFiles", 0, "OutputName", to="evaluatoin"),
        "PropertyFiles[0]: the step has no output 'evaluatoin'; it has ['evaluation'].",
    ),
    "file-twice": (
        change("Evaluate", "PropertyFiles", to=lambda there: there * 2),
        "PropertyFiles[1]: Evaluation is declared twice.",
    ),
    "image": (
        arguments("Train", "AlgorithmSpecification", "TrainingImage", to="pytorch:2.9"),
        "TrainingImage: 'pytorch:2.9' is no image in ECR.",
    ),
    "no-image": (
        arguments("Train", "AlgorithmSpecification", "TrainingImage", without=True),
        "step Train, Arguments.AlgorithmSpecification: it needs one of TrainingImage, AlgorithmName.",
    ),
    "nothing-registered": (
        arguments("Register", "InferenceSpecification", without=True),
        "step Register, Arguments: it needs one of InferenceSpecification, SourceAlgorithmSpecification, SourceUri.",
    ),
    "tag-twice": (
        arguments("Train", "Tags", to=appended({"Key": "Step", "Value": "Train"})),
        "step Train, Arguments.Tags: Step is given twice.",
    ),
    "tag-of-aws": (
        arguments("Train", "Tags", to=appended({"Key": "AWS:mine", "Value": "1"})),
        "AWS:mine begins with aws:, which is AWS's own.",
    ),
    "channel-twice": (
        arguments("Train", "InputDataConfig", to=lambda there: [*there, there[0]]),
        "Arguments.InputDataConfig: train is used twice.",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_definition_with_one_mistake_is_told_of_that_mistake_alone(name):
    definition = ours()
    apply, expected = MISTAKES[name]

    apply(definition)

    problems = told(definition)
    assert len(problems) == 1, problems
    assert expected in problems[0]


OTHER_MISTAKES: dict[str, tuple[str, Change, str]] = {
    "function-arn": ("sdk", change("Ask", "FunctionArn", to="ask"), "step Ask, FunctionArn: 'ask' is none"),
    "queue-url": ("sdk", change("Wait", "SqsQueueUrl", to="wait"), "step Wait, SqsQueueUrl: 'wait' is none"),
    "output-type": ("sdk", change("Ask", "OutputParameters", 1, "OutputType", to="Text"), "'Text' is not one of String"),
    "no-output-parameter": (
        "sdk",
        arguments("Wait", "count", to=get("Steps.Ask.OutputParameters['cuont']")),
        "step Wait, Arguments.count: step Ask has no output parameter 'cuont'; there is count, where.",
    ),
    "number-as-flag": ("quality", change("DataQuality", "SkipCheck", to=get("Parameters.InputData")), "SkipCheck: Parameters.InputData is text"),
    "emr-without-step": ("sdk", arguments("Spark", "StepConfig", without=True), "step Spark, Arguments: StepConfig is missing."),
    "emr-member": (
        "sdk",
        arguments("Spark", "StepConfig", "HadoopJarStep", "Jarr", to="a.jar"),
        "the request has no such member. Is it Jar?",
    ),
    "serverless-on-nothing": (
        "sdk", arguments("Serverless", "ApplicationConfig", without=True), "step Serverless, Arguments: it needs one of ApplicationId",
    ),
    "serverless-driver": (
        "sdk", arguments("Serverless", "JobConfig", "jobDriver", to={"spark": {}}), "JobConfig.jobDriver.spark: the request has no such member.",
    ),
    "lineage-of-nothing": (
        "sdk", arguments("Lineage", "Actions", 0, "Source", without=True), "step Lineage, Arguments.Actions[0]: Source is missing.",
    ),
    "cleanup-of-no-step": (
        "sdk", arguments("Cleanup", "Resources", "S3", 0, "StepName", to="Trian"), "Arguments.Resources.S3[0].StepName: there is no step 'Trian'",
    ),
    "too-many-at-once": ("sdk", arguments("Items", "MaxConcurrency", to=51), "step Items, Arguments.MaxConcurrency: 51 is above 50."),
    "type-of-a-step-for-each-item": (
        "sdk",
        arguments("Items", "ForEachBody", to=[{"Name": "Each", "Type": "Trainign", "Arguments": {}}]),
        "step Each, Type: ",
    ),
    "gate-for-each-item": (
        "sdk",
        arguments("Items", "ForEachBody", to=[{"Name": "Each", "Type": "Fail", "Arguments": {"ErrorMessage": "x"}}]),
        "A step for each item is neither a Condition, nor a Fail, nor another ForEach.",
    ),
    "iteration-of-no-step": (
        "sdk",
        arguments("Judge", "Conditions", 0, "LeftValue", to=get("Steps.Items.IterationOutputs[0].Eech.OutputParameters['score']")),
        "the body of step Items has no step Eech; there is Each.",
    ),
    "inside-of-an-iteration": (
        "sdk",
        arguments("Judge", "Conditions", 0, "LeftValue", to=get("Steps.Each.OutputParameters['score']")),
        "Each runs once for each item of Items. Write Steps.Items.IterationOutputs[0].Each.",
    ),
    "picked-by-nothing": (
        "sdk", arguments("Items", "Selector", "Field", to=get("IterationOutput.Each.OutputParameters['scoer']")), "step Each has no output parameter",
    ),
    "endpoint-without-config": (
        "sdk", arguments("Endpoint", "EndpointConfigName", without=True), "step Endpoint, Arguments: EndpointConfigName is missing.",
    ),
    "variant-count": (
        "sdk",
        arguments("Config", "ProductionVariants", 0, "InitialInstanceCount", to=-1),
        "InitialInstanceCount: -1 is below 1, the least",
    ),
    "baseline-that-is-none": (
        "quality",
        arguments("Register", "DriftCheckBaselines", "ModelDataQuality", "Statistics", "S3Uri", to=get("Steps.DataBias.CalculatedBaselineStatistics")),
        "step DataBias has no CalculatedBaselineStatistics.",
    ),
    "automl-deploys": (
        "quality",
        arguments("AutoMLTraining", "GenerateCandidateDefinitionsOnly", to=True),
        "step AutoMLTraining, Arguments.GenerateCandidateDefinitionsOnly: the request has no such member.",
    ),
    "check-type": ("quality", change("DataBias", "CheckType", to="DATA_QUALITY"), "'DATA_QUALITY' is not one of DATA_BIAS"),
    "tuning-on-spot": (
        "tuning",
        arguments("AbaloneTune", "TrainingJobDefinition", "StoppingCondition", "MaxWaitTimeInSeconds", to=90000),
        "TrainingJobDefinition.StoppingCondition.MaxWaitTimeInSeconds: only spot training waits.",
    ),
    "model-of-nothing": (
        "abalone",
        arguments("AbaloneCreateModel", "PrimaryContainer", without=True),
        "step AbaloneCreateModel, Arguments: it needs one of PrimaryContainer, Containers, InferenceExecutionConfig.",
    ),
    "nothing-to-refer-to": (
        "abalone",
        arguments("AbaloneTransform", "ModelName", to=get("Steps.AbaloneCreateModel.ModelNmae")),
        "step AbaloneCreateModel has no ModelNmae. Is it ModelName?",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHER_MISTAKES)
def test_one_mistake_in_a_step_that_no_seed_has_is_told_alone(name, sdk):
    source, apply, expected = OTHER_MISTAKES[name]
    definition = copy.deepcopy(sdk) if source == "sdk" else PUBLIC[source]()

    apply(definition)

    problems = told(definition)
    assert len(problems) == 1, problems
    assert expected in problems[0]


# --- resources of other projects --------------------------------------------------------------------------------------

EXAMPLE = checks.Project(
    name="example",
    id="p-example",
    bucket="sagemaker-p-example-111122223333",
    model_group="example-p-example",
    role="arn:aws:iam::111122223333:role/sagemaker-p-example-pipeline",
    region="us-east-1",
    registry="763104351884",
)
CALL = {"Name": "Call", "Type": "Lambda", "FunctionArn": "arn:aws:lambda:us-east-1:111122223333:function:theirs"}
QUEUE = {"Name": "Ask", "Type": "Callback", "SqsQueueUrl": "https://sqs.us-east-1.amazonaws.com/111122223333/theirs"}

CLEANUP = {"Name": "Remove", "Type": "Cleanup", "Arguments": {"Resources": {"S3": [{"StepName": "Train"}]}}}
TRESPASSES: dict[str, tuple[Change, str]] = {
    "role": (
        arguments("Train", "RoleArn", to="arn:aws:iam::111122223333:role/Admin"),
        "step Train, Arguments.RoleArn: 'arn:aws:iam::111122223333:role/Admin' is not this project's.",
    ),
    "role-at-run-time": (
        arguments("Train", "RoleArn", to=get("Steps.Preprocess.RoleArn")),
        "Arguments.RoleArn: it is known only at run time.",
    ),
    "registry": (
        arguments("Train", "AlgorithmSpecification", "TrainingImage", to=IMAGE.replace("763104351884", "999999999999")),
        "TrainingImage: '999999999999.dkr.ecr.us-east-1.amazonaws.com/huggingface-py",
    ),
    "region": (
        arguments("Train", "AlgorithmSpecification", "TrainingImage", to=IMAGE.replace("us-east-1", "eu-west-1")),
        "is not in us-east-1, where the job would pull it.",
    ),
    "bucket": (
        arguments("Train", "OutputDataConfig", "S3OutputPath", to=join("s3://theirs/", get("Execution.PipelineExecutionId"))),
        "step Train, Arguments.OutputDataConfig.S3OutputPath: 's3://theirs/...' is not this project's.",
    ),
    "bucket-in-pieces": (
        arguments("Train", "OutputDataConfig", "S3OutputPath", to=join("s3:", "//", "theirs", "/out")),
        "S3OutputPath: 's3://theirs/out' is not this project's. Use s3://sagemaker-p-example-111122223333.",
    ),
    "bucket-in-nested-pieces": (
        arguments("Evaluate", "Environment", "OUT", to=join(join("s3:", "//"), "theirs/", get("Execution.StartDateTime"))),
        "step Evaluate, Arguments.Environment.OUT: 's3://theirs/...' is not this project's.",
    ),
    "bucket-out-of-a-parameter": (
        arguments("Evaluate", "Environment", "OUT", to=join("s3://", get("Parameters.TrainingInstanceType"), "/out")),
        "'s3://ml.g4dn.xlarge/out' is not this project's.",
    ),
    "bucket-by-default": (default("InputData", "s3://theirs/data"), "DefaultValue: 's3://theirs/data' is not this project's"),
    "bucket-in-an-environment": (
        arguments("Evaluate", "Environment", "EXFILTRATE", to="s3://theirs/out"),
        "Environment.EXFILTRATE: 's3://theirs/out' is not this project's.",
    ),
    "key": (
        arguments("Evaluate", "ProcessingResources", "ClusterConfig", "VolumeKmsKeyId", to="alias/theirs"),
        "ClusterConfig.VolumeKmsKeyId: 'alias/theirs' is not this project's. Use no key.",
    ),
    "vpc": (
        arguments("Train", "VpcConfig", to={"Subnets": ["subnet-1"], "SecurityGroupIds": ["sg-1"]}),
        "step Train, Arguments.VpcConfig: {'Subnets': ['subnet-1'], 'SecurityGroupIds': ['sg-1']} is not this project's. Use no VPC.",
    ),
    "model-group": (
        arguments("Register", "ModelPackageGroupName", to="theirs"),
        "step Register, Arguments.ModelPackageGroupName: 'theirs' is not this project's. Use example-p-example.",
    ),
    "no-model-group": (
        arguments("Register", "ModelPackageGroupName", without=True),
        "step Register, Arguments: ModelPackageGroupName is missing.",
    ),
    "tags": (
        arguments("Train", "Tags", 1, "Value", to="p-theirs"),
        "step Train, Arguments.Tags: sagemaker:project-id is 'p-theirs', not 'p-example'.",
    ),
    "no-end": (
        arguments("Evaluate", "StoppingCondition", without=True),
        "step Evaluate, Arguments.StoppingCondition: MaxRuntimeInSeconds is missing.",
    ),
    "function": (lambda d: d["Steps"].append(CALL), "step Call, FunctionArn: 'arn:aws:lambda:us-east-1:111122223333:function:theirs' is not"),
    "cleanup": (lambda d: d["Steps"].append(CLEANUP), "step Remove, Type: a project has no rights for Cleanup steps."),
    "queue": (lambda d: d["Steps"].append(QUEUE), "step Ask, Type: a project has no rights for Callback steps."),
}  # fmt: skip


@pytest.mark.parametrize("name", TRESPASSES)
def test_what_is_not_the_projects_own_is_refused_for_a_project_and_nothing_else_is(name):
    definition = ours()
    apply, expected = TRESPASSES[name]

    apply(definition)

    problems = told(definition, EXAMPLE)
    assert told(definition) == []
    assert len(problems) == 1, problems
    assert expected in problems[0]


# --- the project's network -----------------------------------------------------------------------------------------------

OWN = {"Subnets": ["subnet-1", "subnet-2"], "SecurityGroupIds": ["sg-1"]}
NETWORKED = checks.Project(
    **{**vars(EXAMPLE), "subnets": ("subnet-2", "subnet-1"), "security_groups": ("sg-1",), "isolated": True}
)
JOB = {"VpcConfig": OWN, "EnableNetworkIsolation": True}
PREPROCESS = "step Preprocess, Arguments.NetworkConfig"
USE = "Use subnets subnet-2, subnet-1 with security groups sg-1."


def networked() -> dict:
    """Return our definition with every job in the project's network."""
    definition = ours()
    step(definition, "Train")["Arguments"].update(copy.deepcopy(JOB))
    for name in ("Preprocess", "Evaluate"):
        step(definition, name)["Arguments"]["NetworkConfig"] = copy.deepcopy(JOB)
    return definition


@pytest.mark.parametrize(
    "apply, expected",
    [
        (lambda d: None, []),
        (arguments("Train", "VpcConfig", without=True), [f"step Train, Arguments.VpcConfig: None is not this project's. {USE}"]),
        (arguments("Preprocess", "NetworkConfig", "VpcConfig", "Subnets", to=["subnet-1"]), [f"{PREPROCESS}.VpcConfig: {{'Subnets': ['subnet-1'], "]),
        (arguments("Train", "VpcConfig", "Subnets", 0, to=get("Parameters.ApprovalStatus")), ["step Train, Arguments.VpcConfig: {'Subnets': [{'Get': "]),
        (arguments("Train", "EnableNetworkIsolation", to=False), ["step Train, Arguments.EnableNetworkIsolation: it is False. Write true"]),
        (
            arguments("Preprocess", "NetworkConfig", without=True),
            [f"{PREPROCESS}.VpcConfig: None is not", f"{PREPROCESS}.EnableNetworkIsolation: it is None. Write true"],
        ),
    ],
    ids=["as it is", "outside", "other subnets", "at run time", "not isolated", "nothing said"],
)  # fmt: skip
def test_every_job_is_in_the_projects_network(apply, expected):
    definition = networked()

    apply(definition)

    problems = told(definition, NETWORKED)
    assert len(problems) == len(expected), problems
    assert all(found.startswith(start) for found, start in zip(problems, expected, strict=True)), problems


def test_the_jobs_of_a_tuning_are_in_the_projects_network_too(tmp_path):
    definition = definition_with(tmp_path, "cv", "tuning", jobs=2)
    for name in ("Preprocess", "Evaluate"):
        step(definition, name)["Arguments"]["NetworkConfig"] = JOB
    jobs = step(definition, "Tune")["Arguments"]["TrainingJobDefinition"]

    where = "step Tune, Arguments.TrainingJobDefinition"
    assert [problem.partition(": ")[0] for problem in told(definition, NETWORKED)] == [
        f"{where}.VpcConfig", f"{where}.EnableNetworkIsolation",
    ]  # fmt: skip
    jobs.update(JOB)
    assert told(definition, NETWORKED) == []


def test_what_the_template_allows_besides_is_not_refused():
    definition = ours()
    default("InputData", "s3://shared-data/reviews")(definition)
    definition["Steps"].append(CALL)
    image = "444455556666.dkr.ecr.us-east-1.amazonaws.com/team/train:1"
    arguments("Train", "AlgorithmSpecification", "TrainingImage", to=image)(definition)

    allowing = {
        "buckets": ("shared-data",),
        "functions": (CALL["FunctionArn"],),
        "repositories": ("arn:aws:ecr:us-east-1:444455556666:repository/team/train",),
    }
    assert told(definition, checks.Project(**{**vars(EXAMPLE), **allowing})) == []
    assert len(told(definition, EXAMPLE)) == 3


# --- text, command and size -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, expected",
    [
        (b"{", "Expecting property name"),
        (b"[" * 100_000, "it is nested more than 64 levels deep."),
        (b"[" * 70 + b"]" * 70, "it is nested more than 64 levels deep."),
        (b'{"a": 1, "a": 2}', "an object has a twice. Keep one."),
        (b'{"a": NaN}', "NaN is not JSON. Write a number."),
        (b'{"a": 1e999}', "the number 1e999 is too large."),
        (b'{"a": ' + b"9" * 5000 + b"}", "has 5000 digits, more than 18."),
        (b'{"a": "\\ud800"}', "it is not UTF-8"),
        (b"\xff\xfe", "it is not UTF-8"),
        (b'"' + b"x" * 1_048_576 + b'"', "it has 1,048,578 characters, more than the 1,048,576 that a pipeline takes."),
    ],
    ids=["broken", "deep", "rather-deep", "duplicate", "nan", "huge-float", "huge-int", "surrogate", "binary", "long"],
)
def test_text_that_is_no_definition_is_refused_in_words(text, expected):
    with pytest.raises(ValueError, match=re.escape(expected)):
        checks.read(text)


def run(*arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


# --- rules -----------------------------------------------------------------------------------------------------------


def silent(definition: dict[str, Any], rules: Any) -> dict[str, Any]:
    return {**definition, "Metadata": {"silenced": rules}}


def test_a_rule_is_silenced_with_a_reason():
    definition = ours()
    arguments("Train", "StoppingCondition", "MaxWaitTimeInSeconds", to=60)(definition)

    assert [problem.rule for problem in checks.check(definition)] == ["spot"]
    assert told(silent(definition, {"spot": "an experiment"})) == []
    assert len(told(silent(definition, {"retries": "an experiment"}))) == 1


def test_what_a_project_owns_cannot_be_silenced():
    definition = silent(ours(), {"own-roles": "we want another"})
    step(definition, "Train")["Arguments"]["RoleArn"] = "arn:aws:iam::111122223333:role/other"

    found = checks.check(definition, EXAMPLE)

    assert [(problem.step, problem.rule) for problem in found] == [("", ""), ("Train", "own-roles")]
    assert str(found[0]).startswith(
        "Metadata.silenced.own-roles: no rule that can be silenced has this id: step-names, "
    )


@pytest.mark.parametrize(
    ("rules", "problem"),
    [
        ({"spott": "why"}, "Metadata.silenced.spott: no rule that can be silenced has this id"),
        ({"spot": " "}, "Metadata.silenced.spot: ' ' is no reason"),
        ({"spot": 1}, "Metadata.silenced.spot: 1 is no reason"),
        (["spot"], "Metadata.silenced: ['spot'] is no object of rules with reasons"),
    ],
)
def test_a_rule_is_silenced_by_its_id_and_for_a_reason(rules, problem):
    (found,) = told(silent(ours(), rules))

    assert found.startswith(problem)


def test_every_rule_has_a_sentence_and_a_source_and_is_in_the_documentation():
    rules = checks.RULES.values()

    assert len(rules) > 20
    assert [rule.id for rule in rules if not (rule.sentence.endswith(".") and rule.source)] == []
    assert definitions.RULES.read_text() == definitions.rules()


def test_the_command_says_what_is_wrong_and_where(tmp_path):
    definition = ours()
    arguments("Train", "StoppingCondition", "MaxWaitTimeInSeconds", to=60)(definition)
    (tmp_path / "pipeline.json").write_text(json.dumps(definition))

    good, bad = run("build", "check", "pipeline_json/cv.json"), run("build", "check", str(tmp_path / "pipeline.json"))

    assert (good.returncode, good.stdout) == (0, "pipeline_json/cv.json: 4 steps, nothing wrong\n")
    assert (bad.returncode, bad.stdout) == (1, "")
    assert bad.stderr == (
        f"error: {tmp_path / 'pipeline.json'}: the pipeline definition has 1 problem:\n"
        "  step Train, Arguments.StoppingCondition.MaxWaitTimeInSeconds: 60 is below MaxRuntimeInSeconds, 14400. "
        "Waiting includes the run: make it at least that. [spot]\n"
    )


def test_a_definition_of_500_steps_is_checked_completely(tmp_path):
    definition = large(500)
    step(definition, "Train499")["Arguments"]["RoleArm"] = "x"

    assert told(definition) == ["step Train499, Arguments.RoleArm: the request has no such member. Is it RoleArn?"]


def large(steps: int) -> dict[str, Any]:
    """Return our definition with training steps added, each after the one before, up to `steps` steps in total."""
    definition = ours()
    train = step(definition, "Train")
    before = "Train"
    for number in range(len(definition["Steps"]) + 2, steps):
        body = copy.deepcopy(train) | {"Name": f"Train{number}", "DependsOn": [before]}
        body["Arguments"]["CheckpointConfig"]["S3Uri"]["Std:Join"]["Values"][2] = body["Name"]
        definition["Steps"].append(body)
        before = body["Name"]
    return definition
