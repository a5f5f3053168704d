"""The emulator never ignores a member of a request: it honours the member, or refuses it by name."""

import datetime
import json
import os
import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import botocore.loaders
import botocore.model
import botocore.session
import pytest
from botocore import xform_name
from botocore.exceptions import ClientError
from conftest import wait_for

from rehearsal.aws import lists, members
from rehearsal.loopback import git_credentials

SERVICES = ("sagemaker", "servicecatalog", "codecommit", "service-quotas")
MODELS = {service: botocore.session.get_session().get_service_model(service) for service in SERVICES}
# The models above have no documentation: botocore strips it when it loads them for clients.
DOCUMENTED = botocore.model.ServiceModel(botocore.loaders.Loader().load_service_model("sagemaker", "service-2"))
SHAPES = {
    operation: (service, MODELS[service].operation_model(operation).input_shape)
    for service in SERVICES
    for operation in MODELS[service].operation_names
    if operation in members.HONOURED
}
OPTIONAL = [
    (operation, name)
    for operation, (_, shape) in sorted(SHAPES.items())
    for name in shape.members
    if name not in shape.required_members
]
LONG_AGO, FAR_AHEAD = (
    datetime.datetime(2001, 1, 1, tzinfo=datetime.UTC),
    datetime.datetime(2101, 1, 1, tzinfo=datetime.UTC),
)
FAIL = {"Name": "Fail", "Type": "Fail", "Arguments": {"ErrorMessage": "x"}}


def sample(shape):
    """Return a minimal value of a shape, with required members only."""
    kind = shape.type_name
    if kind == "structure":
        return {name: sample(shape.members[name]) for name in shape.required_members}
    if kind in ("list", "map"):
        return [] if kind == "list" else {}
    if kind == "string":
        return shape.enum[0] if shape.enum else "a" * max(1, shape.metadata.get("min", 1))
    if kind == "timestamp":
        return LONG_AGO
    return True if kind == "boolean" else shape.metadata.get("min", 1)


def refusal(call, **parameters) -> tuple[str, str]:
    with pytest.raises(ClientError) as caught:
        call(**parameters)
    return caught.value.response["Error"]["Code"], caught.value.response["Error"]["Message"]


def test_the_tables_name_only_what_the_model_has():
    assert set(SHAPES) == set(members.HONOURED)
    for operation, names in members.HONOURED.items():
        assert set(names) <= set(SHAPES[operation][1].members), operation
    for operation, name in members.WITHOUT_EFFECT:
        assert name in SHAPES[operation][1].members
        assert name not in members.HONOURED[operation]


@pytest.mark.parametrize("operation, name", OPTIONAL)
def test_an_optional_member_is_honoured_or_has_a_reason_or_is_refused_by_name(operation, name):
    shape = SHAPES[operation][1]
    listed = name in members.HONOURED[operation] or (operation, name) in members.WITHOUT_EFFECT

    assert members.unsupported(operation, shape, {name: None}) == ([] if listed else [name])


def inside(shape, wrap=lambda value: value, path=""):
    """Yield (structure, member, path, request) for each member at any depth; the request sets that member only."""
    for name, member in shape.members.items():
        here, within = f"{path}.{name}" if path else name, partial(put, wrap, name)
        yield shape.name, name, here, within(sample(member))
        if name not in members.INSIDE.get(shape.name, {name: ()}):
            continue  # the emulator refuses it with everything below it
        if member.type_name == "structure":
            yield from inside(member, within, here)
        elif member.type_name == "list" and member.member.type_name == "structure":
            yield from inside(member.member, lambda value, put_in=within: put_in([value]), f"{here}[0]")


def put(wrap, name, value):
    return wrap({name: value})


NESTED = [
    (operation, *found)
    for operation, (_, shape) in sorted(SHAPES.items())
    if operation not in members.KEPT
    for found in inside(shape)
    if found[0] != shape.name
    and found[2].split(".")[0].split("[")[0] in {*shape.required_members, *members.HONOURED[operation]}
]


@pytest.mark.parametrize("operation, structure, name, path, request_", NESTED, ids=[f"{n[0]}-{n[3]}" for n in NESTED])
def test_a_member_of_a_structure_is_honoured_or_refused_by_its_path(operation, structure, name, path, request_):
    refused = members.unsupported(operation, SHAPES[operation][1], request_)

    # None: the member is not emulated; (): every value is; otherwise, the values that are.
    emulator = members.INSIDE[structure].get(name)
    value = request_
    for key in path.replace("[0]", ".0").split("."):
        value = value[int(key) if key == "0" else key]
    if emulator is None:
        assert refused == [path]
    elif emulator and value not in emulator:
        assert refused == [f"{path} = {value}"]
    else:
        assert [each for each in refused if not each.startswith(f"{path}.")] == []


def test_the_table_of_structures_has_all_that_is_required_and_nothing_unknown():
    shapes = {
        shape.name: shape
        for model in MODELS.values()
        for shape in map(model.shape_for, model.shape_names)
        if shape.type_name == "structure" and shape.name in members.INSIDE
    }
    assert shapes.keys() == members.INSIDE.keys()
    for name, shape in shapes.items():
        assert set(shape.required_members) <= set(members.INSIDE[name]) <= set(shape.members), name


@pytest.mark.parametrize("operation", ["ListPortfolios", "ListModels", "SearchProducts", "ListRepositories"])
def test_a_refusal_names_operation_and_member(emulator, operation):
    service, shape = SHAPES[operation]
    name = next((n for o, n in OPTIONAL if o == operation and n not in members.HONOURED[operation]), None)
    call = getattr(emulator.client(service), xform_name(operation))
    if name is None:
        assert call()["ResponseMetadata"]["HTTPStatusCode"] == 200
        return

    assert refusal(call, **{name: sample(shape.members[name])}) == (
        "UnsupportedOperation",
        f"The emulator does not support {name} of {service}:{operation}.",
    )


@pytest.mark.parametrize("operation, parameters", [("search", {"Resource": "TrainingJob"})])
def test_a_method_of_our_own_is_no_operation(emulator, operation, parameters):
    assert refusal(getattr(emulator.client("sagemaker"), operation), **parameters)[0] == "UnsupportedOperation"


@pytest.fixture(scope="module")
def pipelines(emulator, make_role):
    """Create two pipelines, one after the other; return a SageMaker client and their role."""
    sagemaker, role = emulator.client("sagemaker"), make_role("silent-yes", "sagemaker")
    for name in ("yes-first", "yes-second"):
        sagemaker.create_pipeline(
            PipelineName=name,
            PipelineDefinition=json.dumps({"Steps": [FAIL]}),
            RoleArn=role,
            ClientRequestToken=name * 4,
        )
    return sagemaker, role


def names(answer: dict) -> list[str]:
    return [entry["PipelineName"] for entry in answer["PipelineSummaries"]]


def test_lists_are_filtered_and_sorted_as_the_request_says(pipelines):
    listed = pipelines[0].list_pipelines

    assert names(listed(PipelineNamePrefix="yes-f")) == ["yes-first"]
    assert names(listed(PipelineNamePrefix="yes", SortBy="Name", SortOrder="Ascending")) == ["yes-first", "yes-second"]
    assert names(listed(PipelineNamePrefix="yes", SortBy="Name", SortOrder="Descending")) == [
        "yes-second",
        "yes-first",
    ]
    assert len(names(listed(PipelineNamePrefix="yes", CreatedAfter=LONG_AGO, CreatedBefore=FAR_AHEAD))) == 2
    assert names(listed(CreatedAfter=FAR_AHEAD)) == names(listed(CreatedBefore=LONG_AGO)) == []


def test_a_token_is_good_for_the_request_that_it_came_from_alone(pipelines):
    listed = pipelines[0].list_pipelines
    first = listed(PipelineNamePrefix="yes", MaxResults=1)

    second = listed(PipelineNamePrefix="yes", MaxResults=1, NextToken=first["NextToken"])
    assert sorted(names(first) + names(second)) == ["yes-first", "yes-second"]
    assert "NextToken" not in second
    for token, prefix in ((first["NextToken"], "yes-f"), ("1", "yes"), ("ä", "yes")):
        assert refusal(listed, PipelineNamePrefix=prefix, NextToken=token)[0] == "ValidationException"
    assert refusal(listed, MaxResults=101)[0] == "ValidationException"


@pytest.mark.parametrize("member", [*lists.AFTER, *lists.BEFORE, "NameContains", "StatusEquals", "PipelineNamePrefix"])
def test_every_filter_separates_two_resources(member):
    old = {"ProcessingJobName": "old", "ProcessingJobStatus": "Failed"}
    new = {"ProcessingJobName": "new", "ProcessingJobStatus": "Completed"}
    old |= dict.fromkeys(("CreationTime", "LastModifiedTime"), LONG_AGO)
    new |= dict.fromkeys(("CreationTime", "LastModifiedTime"), FAR_AHEAD)
    middle = datetime.datetime(2051, 1, 1, tzinfo=datetime.UTC).timestamp()
    value = {"NameContains": "ew", "StatusEquals": "Completed", "PipelineNamePrefix": "n"}.get(member, middle)

    shown, _ = lists.page([old, new], {member: value}, "ProcessingJobSummaries")

    assert shown == ([old] if member in lists.BEFORE else [new])


@pytest.mark.parametrize("key", lists.SORTING)
def test_a_list_is_sorted_as_the_api_reference_says_unless_the_request_says(key):
    operation = next(
        name
        for name in members.HONOURED
        if name.startswith("List") and key in MODELS["sagemaker"].operation_model(name).output_shape.members
    )
    documented = {
        name: re.sub("<[^>]+>", "", member.documentation).rsplit("The default is ", 1)[-1].split(".")[0]
        for name, member in DOCUMENTED.operation_model(operation).input_shape.members.items()
        if name in ("SortBy", "SortOrder") and "The default is" in member.documentation
    }
    by, direction = lists.SORTING[key]

    assert documented.get("SortBy", by).replace("CreatedTime", "CreationTime") == by
    assert documented.get("SortOrder", direction).replace("CreatedTime", direction) == direction


@pytest.mark.parametrize(
    "steps, code, reason",
    [
        ([{**FAIL, "DependsOn": ["Nowhere"]}], "ValidationException", "Unknown steps are depended on: Nowhere."),
        ([FAIL, FAIL], "ValidationException", "Step names are not unique."),
        ([{**FAIL, "DependsOn": ["B"]}, {**FAIL, "Name": "B", "DependsOn": ["Fail"]}], "ValidationException", "cycle"),
        (
            [FAIL, {**FAIL, "Name": "B", "DependsOn": [{"Step": "Fail", "Trigger": "OnFailure"}]}],
            "UnsupportedOperation",
            "dependencies by trigger, in DependsOn of step B",
        ),
        ([{**FAIL, "Type": "Lambda"}], "UnsupportedOperation", "steps of type Lambda, as Fail"),
        ([{**FAIL, "Type": "Nonsense"}], "UnsupportedOperation", "steps of type Nonsense, as Fail"),
        ([{**FAIL, "CacheConfig": {"Enabled": True}}], "UnsupportedOperation", "CacheConfig of step Fail"),
        (
            [{**FAIL, "Arguments": {"ErrorMessage": {"Get": "Parameters.Reason"}}}],
            "ValidationException",
            "Parameters that are not declared: Reason.",
        ),
        (
            [
                {
                    "Name": "If",
                    "Type": "Condition",
                    "Arguments": {
                        "Conditions": [{"Type": "Not", "Condition": {"Type": "Sometimes"}}],
                        "IfSteps": [],
                        "ElseSteps": [],
                    },
                }
            ],
            "UnsupportedOperation",
            "conditions of type Sometimes, as in step If",
        ),
    ],
)
def test_a_definition_that_is_no_graph_or_not_emulated_is_refused(pipelines, steps, code, reason):
    sagemaker, role = pipelines
    text = json.dumps({"Steps": steps})

    for call, more in ((sagemaker.update_pipeline, {"PipelineName": "yes-first"}),
                       (sagemaker.create_pipeline, {"PipelineName": "no", "RoleArn": role, "ClientRequestToken": "x" * 32})):  # fmt: skip
        said = refusal(call, PipelineDefinition=text, **more)
        assert (said[0], reason in said[1]) == (code, True)


@pytest.mark.parametrize(
    "condition, outcome",
    [
        ({"Type": "In", "QueryValue": "a", "Values": ["a", "b"]}, "True"),
        ({"Type": "In", "QueryValue": "c", "Values": ["a", "b"]}, "False"),
        ({"Type": "Not", "Condition": {"Type": "Equals", "LeftValue": 1, "RightValue": 1}}, "False"),
        (
            {
                "Type": "Or",
                "Conditions": [
                    {"Type": "Equals", "LeftValue": 1, "RightValue": 2},
                    {"Type": "Not", "Condition": {"Type": "Equals", "LeftValue": 1, "RightValue": 2}},
                ],
            },
            "True",
        ),
    ],
)
def test_conditions_of_every_emulated_type_decide(pipelines, condition, outcome):
    sagemaker, _ = pipelines
    step = {"Name": "If", "Type": "Condition", "Arguments": {"Conditions": [condition], "IfSteps": [], "ElseSteps": []}}
    sagemaker.update_pipeline(PipelineName="yes-first", PipelineDefinition=json.dumps({"Steps": [step]}))
    arn = sagemaker.start_pipeline_execution(PipelineName="yes-first")["PipelineExecutionArn"]

    def ended() -> list[dict]:
        listed = sagemaker.list_pipeline_execution_steps(PipelineExecutionArn=arn)["PipelineExecutionSteps"]
        return [one for one in listed if one["StepStatus"] != "Executing"]

    assert wait_for(ended)[0]["Metadata"]["Condition"]["Outcome"] == outcome


def test_selective_execution_is_refused(pipelines):
    selected = {"SelectedSteps": [{"StepName": "Fail"}]}

    code, message = refusal(
        pipelines[0].start_pipeline_execution, PipelineName="yes-first", SelectiveExecutionConfig=selected
    )

    assert (code, "SelectiveExecutionConfig" in message) == ("UnsupportedOperation", True)


@pytest.mark.parametrize(
    "tags", [[{"Key": "aws:x", "Value": "1"}], [{"Key": f"k{n}", "Value": "1"} for n in range(51)]]
)
def test_reserved_and_too_many_tags_are_refused(pipelines, tags):
    sagemaker, _ = pipelines
    arn = sagemaker.describe_pipeline(PipelineName="yes-first")["PipelineArn"]

    assert refusal(sagemaker.add_tags, ResourceArn=arn, Tags=tags)[0] == "ValidationException"
    assert sagemaker.list_tags(ResourceArn=arn)["Tags"] == []


def test_a_finished_run_cannot_be_stopped(pipelines):
    sagemaker, _ = pipelines
    arn = sagemaker.start_pipeline_execution(PipelineName="yes-second")["PipelineExecutionArn"]
    wait_for(
        lambda: sagemaker.describe_pipeline_execution(PipelineExecutionArn=arn)["PipelineExecutionStatus"] == "Failed"
    )

    code, message = refusal(sagemaker.stop_pipeline_execution, PipelineExecutionArn=arn)

    assert (code, "Only pipelines with 'Executing' status can be stopped" in message) == ("ValidationException", True)


def specification(bucket: str) -> dict:
    """Return an InferenceSpecification whose model is an archive in the bucket."""
    return {
        "Containers": [{"Image": "image", "ModelDataUrl": f"s3://{bucket}/model.tar.gz"}],
        "SupportedContentTypes": ["text/plain"],
        "SupportedResponseMIMETypes": ["application/json"],
    }


def create(emulator, name: str, resource: dict) -> None:
    """Create a stack with one resource."""
    template = json.dumps({"Resources": {"Resource": resource}})
    emulator.client("cloudformation").create_stack(StackName=name, TemplateBody=template)


def test_a_list_of_packages_without_a_group_has_those_without_a_version_alone(emulator, bucket):
    sagemaker = emulator.client("sagemaker")
    group = "silent-yes-group"
    body = {"Type": "AWS::SageMaker::ModelPackageGroup", "Properties": {"ModelPackageGroupName": group}}
    create(emulator, group, body)
    wait_for(lambda: group in str(sagemaker.list_model_package_groups()["ModelPackageGroupSummaryList"]))
    make = partial(sagemaker.create_model_package, ModelPackageGroupName=group)
    nowhere = "Could not find model data at s3://nobodys-bucket/model.tar.gz."
    assert refusal(make, InferenceSpecification=specification("nobodys-bucket")) == ("ValidationException", nowhere)
    emulator.client("s3").put_object(Bucket=bucket, Key="model.tar.gz", Body=b"x")
    arn = make(InferenceSpecification=specification(bucket))["ModelPackageArn"]

    def listed(**parameters: str) -> list[str]:
        return [
            one["ModelPackageArn"] for one in sagemaker.list_model_packages(**parameters)["ModelPackageSummaryList"]
        ]

    assert listed(ModelPackageGroupName=group) == [arn]
    assert arn in listed(ModelPackageType="Versioned")
    assert listed() == listed(ModelPackageType="Unversioned") == []


@pytest.fixture(scope="module")
def repository(emulator, tmp_path_factory) -> str:
    """Create a repository with the branches main and idea; return its name."""
    body = {"Type": "AWS::CodeCommit::Repository", "Properties": {"RepositoryName": "silent-yes"}}
    create(emulator, "silent-yes-repository", body)
    listed = emulator.client("codecommit").list_repositories
    wait_for(lambda: "silent-yes" in [repository["repositoryName"] for repository in listed()["repositories"]])
    folder = tmp_path_factory.mktemp("silent-yes")
    options = ["-c", "user.name=a", "-c", "user.email=a@b.c", *git_credentials(Path(sys.executable))]
    for command in (
        ["init", "--quiet", "--initial-branch", "main"],
        ["commit", "--quiet", "--allow-empty", "--message", "first"],
        ["push", "--quiet", f"{emulator.endpoint}/v1/repos/silent-yes", "main", "main:idea"],
    ):
        subprocess.run(["git", *options, *command], cwd=folder, env=os.environ | emulator.environment(), check=True)
    return "silent-yes"


def test_a_pull_request_into_itself_is_refused_and_one_token_opens_one(emulator, repository):
    open_one = emulator.client("codecommit").create_pull_request
    target = {"repositoryName": repository, "sourceReference": "idea", "destinationReference": "refs/heads/main"}

    itself = target | {"sourceReference": "main"}
    assert refusal(open_one, title="idea", targets=[itself])[0] == "SourceAndDestinationAreSameException"
    opened = [
        open_one(title="idea", targets=[target], clientRequestToken=token)["pullRequest"]["pullRequestId"]
        for token in ("one", "one", "two")
    ]
    assert opened[0] == opened[1] != opened[2]
