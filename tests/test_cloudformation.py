"""The emulated CloudFormation refuses what AWS refuses, and acts with the permissions of a stack's role."""

import io
import json
import uuid
import zipfile
from pathlib import Path
from typing import Any

import cfnlint
import pytest
from botocore.exceptions import ClientError
from conftest import wait_for

from build.template import load
from rehearsal.aws import acting
from rehearsal.server import Emulator

SCHEMAS = Path(cfnlint.__file__).parent / "data/schemas/resources"

TOPIC = "AWS::SNS::Topic"
TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}],
}
IAM = {"Capabilities": ["CAPABILITY_NAMED_IAM"]}


def unique(name: str = "strict") -> str:
    return f"{name}-{uuid.uuid4().hex[:8]}"


def resource(kind: str, **properties: Any) -> dict[str, Any]:
    """Return a template with one resource, called A."""
    return {"Resources": {"A": {"Type": kind, "Properties": properties}}}


def create(aws: Emulator, template: dict[str, Any], name: str = "", **more: Any) -> str:
    """Create a stack and return its id."""
    name = name or unique()
    return aws.client("cloudformation").create_stack(StackName=name, TemplateBody=json.dumps(template), **more)[
        "StackId"
    ]


def ended(aws: Emulator, stack: str) -> str:
    """Wait for the operation on a stack to end; return the status."""

    def status() -> str | None:
        found = aws.client("cloudformation").describe_stacks(StackName=stack)["Stacks"][0]["StackStatus"]
        return None if found.endswith("IN_PROGRESS") else found

    return wait_for(status)


def update(aws: Emulator, stack: str, template: dict[str, Any], **more: Any) -> str:
    aws.client("cloudformation").update_stack(StackName=stack, TemplateBody=json.dumps(template), **more)
    return ended(aws, stack)


def reasons(aws: Emulator, stack: str) -> list[str]:
    """Return the reasons in a stack's events of failure."""
    events = aws.client("cloudformation").describe_stack_events(StackName=stack)["StackEvents"]
    return [event.get("ResourceStatusReason", "") for event in events if event["ResourceStatus"].endswith("_FAILED")]


def statuses(aws: Emulator, stack: str, logical_id: str) -> list[str]:
    events = aws.client("cloudformation").describe_stack_events(StackName=stack)["StackEvents"][::-1]
    return [event["ResourceStatus"] for event in events if event["LogicalResourceId"] == logical_id]


# --- templates and parameters ----------------------------------------------------------------------------------------

NOPE = {"Ref": "Nope"}
DEPENDENCIES = "Template format error: Unresolved resource dependencies [Nope] in the {} block of the template"


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ({"Resources": {}}, "Template format error: At least one Resources member must be defined."),
        ({"Description": "x"}, "Template format error: At least one Resources member must be defined."),
        (
            resource(TOPIC) | {"Resource": {}},
            "Template format error: Invalid template property or properties [Resource]",
        ),
        ({"Resources": {"A": {"Type": TOPIC, "Foo": 1}}}, "Invalid template resource property 'Foo'"),
        (resource("AWS::SNS::Topix"), "Template format error: Unrecognized resource types: [AWS::SNS::Topix]"),
        (resource(TOPIC, DisplayName=NOPE), DEPENDENCIES.format("Resources")),
        (resource(TOPIC, DisplayName={"Fn::Sub": "a ${Nope}"}), DEPENDENCIES.format("Resources")),
        (
            resource(TOPIC, DisplayName={"Fn::GetAtt": ["Nope", "Arn"]}),
            "Template error: instance of Fn::GetAtt references undefined resource Nope",
        ),
        (resource(TOPIC) | {"Outputs": {"O": {"Value": NOPE}}}, DEPENDENCIES.format("Outputs")),
        (
            {"Resources": {"A": {"Type": TOPIC, "Condition": "Nope"}}},
            "Template format error: Unresolved condition dependency Nope in the Resources block of the template",
        ),
        (
            resource(TOPIC) | {"Conditions": {"C": {"Fn::Equals": [NOPE, "a"]}}},
            "Template format error: Unresolved dependencies [Nope]. "
            "Cannot reference resources in the Conditions block of the template",
        ),
    ],
)
def test_a_malformed_template_is_refused_before_there_is_a_stack(emulator, template, message):
    cloudformation, body = emulator.client("cloudformation"), json.dumps(template)

    for call in (
        lambda: cloudformation.create_stack(StackName=unique(), TemplateBody=body),
        lambda: cloudformation.validate_template(TemplateBody=body),
    ):
        with pytest.raises(ClientError) as refused:
            call()
        assert refused.value.response["Error"]["Message"] == message


def test_a_circle_of_dependencies_is_refused(emulator):
    circle = {"Resources": {"A": {"Type": TOPIC, "DependsOn": "B"}, "B": {"Type": TOPIC, "DependsOn": ["A"]}}}

    with pytest.raises(ClientError, match=r"Circular dependency between resources: \[A, B\]"):
        create(emulator, circle)


@pytest.mark.parametrize(
    ("declared", "values", "message"),
    [
        ({}, {"X": "1"}, "Parameters: [X] do not exist in the template"),
        ({"X": {"Type": "String"}, "Y": {"Type": "String"}}, {}, "Parameters: [X, Y] must have values"),
        ({"X": {"Type": "String", "AllowedValues": ["a"]}}, {"X": "1"}, "Parameter 'X' must be one of AllowedValues"),
        ({"X": {"Type": "String", "AllowedPattern": "[a-z]+"}}, {"X": "1"}, "Parameter 'X' must match pattern [a-z]+"),
    ],
)
def test_parameters_that_a_template_does_not_take_are_refused(emulator, declared, values, message):
    given = [{"ParameterKey": name, "ParameterValue": value} for name, value in values.items()]

    with pytest.raises(ClientError) as refused:
        create(emulator, resource(TOPIC) | {"Parameters": declared}, Parameters=given)
    assert refused.value.response["Error"]["Message"] == message


def test_a_role_is_not_made_without_the_capability(emulator):
    template = resource("AWS::IAM::Role", AssumeRolePolicyDocument=TRUST, RoleName=unique())

    with pytest.raises(ClientError, match=r"Requires capabilities : \[CAPABILITY_NAMED_IAM\]"):
        create(emulator, template, Capabilities=["CAPABILITY_IAM"])


def test_a_parameter_that_nobody_may_see_is_not_described(emulator):
    secret = {"Parameters": {"Secret": {"Type": "String", "NoEcho": True}}}
    stack = create(
        emulator, resource(TOPIC) | secret, Parameters=[{"ParameterKey": "Secret", "ParameterValue": "password"}]
    )
    described = emulator.client("cloudformation").describe_stacks(StackName=stack)["Stacks"][0]

    assert described["Parameters"] == [{"ParameterKey": "Secret", "ParameterValue": "****"}]


# --- properties ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "properties", "problem"),
    [
        (TOPIC, {"Foo": 1}, "#: extraneous key [Foo] is not permitted"),
        (TOPIC, {"TopicArn": "a"}, "#: extraneous key [TopicArn] is not permitted: it is read-only"),
        (TOPIC, {"Tags": [{"Key": "a"}]}, "#/Tags/0: required key [Value] not found"),
        ("AWS::Logs::LogGroup", {"RetentionInDays": 15}, "#/RetentionInDays: 15 is not a valid enum value"),
        ("AWS::SQS::Queue", {"VisibilityTimeout": "43201"}, "#/VisibilityTimeout: 43201 is not less or equal to 43200"),
        ("AWS::SQS::Queue", {"QueueName": ["a"]}, "#/QueueName: expected type: String, found: JSONArray"),
        ("AWS::S3::BucketPolicy", {"Bucket": "a"}, "#: required key [PolicyDocument] not found"),
        ("AWS::ServiceCatalog::Portfolio", {"DisplayName": "a"}, "#: required key [ProviderName] not found"),
    ],
)
def test_properties_that_a_resource_does_not_have_fail_it_and_roll_back(emulator, kind, properties, problem):
    template = {"Resources": {"Z": {"Type": TOPIC}, "A": {"Type": kind, "Properties": properties, "DependsOn": "Z"}}}
    stack = create(emulator, template)

    assert ended(emulator, stack) == "ROLLBACK_COMPLETE"
    assert f"Properties validation failed for resource A with message:\n{problem}" in reasons(emulator, stack)
    assert statuses(emulator, stack, "Z")[-1] == "DELETE_COMPLETE"


def test_values_are_validated_as_their_functions_resolve_and_strings_as_numbers(emulator):
    days = {"Parameters": {"Days": {"Type": "Number", "Default": 14}}}
    stack = create(emulator, resource("AWS::Logs::LogGroup", RetentionInDays={"Ref": "Days"}) | days)
    created = ended(emulator, stack)
    refused = update(
        emulator,
        stack,
        resource("AWS::Logs::LogGroup", RetentionInDays={"Ref": "Days"}) | days,
        Parameters=[{"ParameterKey": "Days", "ParameterValue": "15"}],
    )

    assert (created, refused) == ("CREATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE")


# --- names in use ----------------------------------------------------------------------------------------------------

ALARM = {"MetricName": "a", "Namespace": "b", "ComparisonOperator": "GreaterThanThreshold", "EvaluationPeriods": 1}
ALARM |= {"Period": 60, "Threshold": 1, "Statistic": "Sum"}
PATTERN = {"source": ["of.tests"]}


@pytest.mark.parametrize(
    ("kind", "name", "properties"),
    [
        ("AWS::CloudWatch::Alarm", "AlarmName", ALARM),
        ("AWS::IAM::Role", "RoleName", {"AssumeRolePolicyDocument": TRUST}),
        ("AWS::Logs::LogGroup", "LogGroupName", {}),
        ("AWS::S3::Bucket", "BucketName", {}),
        ("AWS::SNS::Topic", "TopicName", {}),
        ("AWS::SQS::Queue", "QueueName", {}),
    ],
)
def test_a_resource_of_a_name_that_is_taken_fails_and_the_other_one_stays(emulator, kind, name, properties):
    template = resource(kind, **{name: unique()}, **properties)
    first, second = create(emulator, template, **IAM), create(emulator, template, **IAM)

    assert ended(emulator, first) == "CREATE_COMPLETE"
    assert ended(emulator, second) == "ROLLBACK_COMPLETE"
    assert "A" not in [e for e in statuses(emulator, second, "A") if e.startswith("DELETE")]


def test_what_rolled_back_can_neither_be_created_again_nor_updated(emulator):
    name = unique()
    stack = create(emulator, resource(TOPIC, Foo=1), name)
    assert ended(emulator, stack) == "ROLLBACK_COMPLETE"

    with pytest.raises(ClientError, match=rf"AlreadyExistsException.*Stack \[{name}\] already exists"):
        create(emulator, resource(TOPIC), name)
    with pytest.raises(ClientError, match="is in ROLLBACK_COMPLETE state and can not be updated."):
        update(emulator, name, resource(TOPIC))


# --- updates ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stack(emulator) -> str:
    made = create(emulator, resource(TOPIC, DisplayName="a"))
    assert ended(emulator, made) == "CREATE_COMPLETE"
    return made


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"Description": "another"},
        {"Metadata": {"a": 1}},
        {"Parameters": {"Unused": {"Type": "String", "Default": "a"}}},
        {"Conditions": {"Never": {"Fn::Equals": ["a", "b"]}}},
        {"Mappings": {"M": {"a": {"b": "c"}}}},
    ],
)
def test_an_update_without_a_change_of_resources_or_outputs_is_refused(emulator, stack, more):
    with pytest.raises(ClientError, match="No updates are to be performed."):
        update(emulator, stack, resource(TOPIC, DisplayName="a") | more)


def test_a_resource_whose_condition_is_false_is_no_change(emulator, stack):
    template = resource(TOPIC, DisplayName="a") | {"Conditions": {"Never": {"Fn::Equals": ["a", "b"]}}}
    template["Resources"]["B"] = {"Type": TOPIC, "Condition": "Never"}

    with pytest.raises(ClientError, match="No updates are to be performed."):
        update(emulator, stack, template)


@pytest.mark.parametrize(
    ("sections", "more"),
    [
        ({"Outputs": {"Name": {"Value": "a"}}}, {}),
        ({}, {"Tags": [{"Key": "team", "Value": "a"}]}),
        ({"Resources": {"A": {"Type": TOPIC, "Properties": {"DisplayName": "b"}}}}, {}),
    ],
)
def test_changed_outputs_tags_and_properties_are_updates(emulator, sections, more):
    stack = create(emulator, resource(TOPIC, DisplayName="a"))
    ended(emulator, stack)

    assert update(emulator, stack, resource(TOPIC, DisplayName="a") | sections, **more) == "UPDATE_COMPLETE"


def test_a_boundary_that_an_update_adds_or_removes_holds(emulator):
    iam, name = emulator.client("iam"), unique()
    boundary = "arn:aws:iam::aws:policy/ReadOnlyAccess"
    plain = resource("AWS::IAM::Role", RoleName=name, AssumeRolePolicyDocument=TRUST)
    bound = resource("AWS::IAM::Role", RoleName=name, AssumeRolePolicyDocument=TRUST, PermissionsBoundary=boundary)
    stack = create(emulator, plain, **IAM)
    ended(emulator, stack)

    update(emulator, stack, bound, **IAM)
    added = iam.get_role(RoleName=name)["Role"].get("PermissionsBoundary", {})
    update(emulator, stack, plain, **IAM)
    removed = iam.get_role(RoleName=name)["Role"].get("PermissionsBoundary")

    assert (added.get("PermissionsBoundaryArn"), removed) == (boundary, None)


# --- failures --------------------------------------------------------------------------------------------------------

FAILING = """
import json, urllib.request
import boto3
def handler(event, context):
    queue = event["ResourceProperties"]["Queue"]
    named = {key: event[key] for key in ("RequestType", "PhysicalResourceId") if key in event}
    boto3.client("sqs").send_message(QueueUrl=queue, MessageBody=json.dumps(named))
    answer = {key: event[key] for key in ("StackId", "RequestId", "LogicalResourceId")}
    answer |= {"Status": "FAILED" if event["RequestType"] == "Create" else "SUCCESS", "Reason": "as written",
               "PhysicalResourceId": "half-made"}
    data = json.dumps(answer).encode()
    urllib.request.urlopen(urllib.request.Request(event["ResponseURL"], data=data, method="PUT")).close()
"""


@pytest.fixture(scope="module")
def failing(emulator, make_role) -> str:
    """Return the ARN of a function that fails to create a custom resource, and sends each request to a queue."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as code:
        code.writestr("failing.py", FAILING)
    role = make_role(unique("failing"), "lambda", "sqs:SendMessage")
    functions, name = emulator.client("lambda"), unique("failing")
    arn = functions.create_function(
        FunctionName=name,
        Handler="failing.handler",
        Runtime="python3.12",
        Role=role,
        Code={"ZipFile": archive.getvalue()},
    )["FunctionArn"]
    functions.get_waiter("function_active_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1})
    return arn


def requests(aws: Emulator, queue: str) -> list[dict[str, str]]:
    found = aws.client("sqs").receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages", [])
    return sorted((json.loads(message["Body"]) for message in found), key=lambda request: request["RequestType"])


@pytest.mark.parametrize(
    ("more", "status", "deleted"),
    [
        ({}, "ROLLBACK_COMPLETE", True),
        ({"OnFailure": "DELETE"}, "DELETE_COMPLETE", True),
        ({"OnFailure": "DO_NOTHING"}, "CREATE_FAILED", False),
        ({"DisableRollback": True}, "CREATE_FAILED", False),
    ],
)
def test_a_custom_resource_that_could_not_be_created_gets_a_delete(emulator, failing, more, status, deleted):
    queue = emulator.client("sqs").create_queue(QueueName=unique())["QueueUrl"]
    stack = create(emulator, resource("Custom::Thing", ServiceToken=failing, Queue=queue), **more)
    expected = [{"RequestType": "Create"}]
    if deleted:
        expected.append({"RequestType": "Delete", "PhysicalResourceId": "half-made"})

    assert ended(emulator, stack) == status
    assert requests(emulator, queue) == expected


# --- the role of a stack ---------------------------------------------------------------------------------------------


def test_a_type_that_nobody_listed_is_not_free_for_every_role(emulator, make_role):
    role = make_role(unique("stack"), "cloudformation", "sns:*")
    stack = create(emulator, resource("AWS::SecretsManager::Secret", Description="a"), RoleARN=role)

    assert ended(emulator, stack) == "ROLLBACK_COMPLETE"
    assert any("add it to rehearsal/aws/acting.py" in reason for reason in reasons(emulator, stack))


@pytest.mark.parametrize(
    ("more", "status"), [([], "UPDATE_ROLLBACK_COMPLETE"), (["sns:SetTopicAttributes"], "UPDATE_COMPLETE")]
)
def test_an_update_needs_its_own_permission(emulator, make_role, more, status):
    role = make_role(unique("stack"), "cloudformation", "sns:CreateTopic", "sns:TagResource", "sns:DeleteTopic", *more)
    stack = create(emulator, resource(TOPIC, DisplayName="a"), RoleARN=role)
    assert ended(emulator, stack) == "CREATE_COMPLETE"

    assert update(emulator, stack, resource(TOPIC, DisplayName="b"), RoleARN=role) == status


def test_every_type_of_the_templates_needs_what_its_schema_lists():
    """Types without handlers in their schema, which CloudFormation implements itself, are not compared."""
    types = {each["Type"] for name in ("portfolio.yaml", "project.yaml") for each in load(name)["Resources"].values()}
    types -= {"Custom::ProjectLifecycle", "AWS::CodeBuild::Project"}
    schemas = {
        schema["typeName"]: schema for schema in map(json.loads, (p.read_text() for p in SCHEMAS.glob("*.json")))
    }
    for name in types:
        handlers = schemas[name]["handlers"].values()
        listed = {permission.lower() for handler in handlers for permission in handler["permissions"]}
        needs = acting.NEEDS[name]
        actions = {*needs.create, *needs.delete, *(action for each in needs.update.values() for action in each)}

        assert {action for action in actions if action.lower() not in listed} == set(), name
        assert needs.update.keys() - {f"-{each}" for each in schemas[name]["properties"]} <= {
            "*",
            *schemas[name]["properties"],
        }


def test_dead_letters_that_an_update_adds_are_kept(emulator, make_role):
    role, name = make_role(unique("dead"), "lambda", "sqs:SendMessage"), unique()
    queue = f"arn:aws:sqs:us-east-1:111122223333:{name}"
    emulator.client("sqs").create_queue(QueueName=name)
    code = {"ZipFile": "def handler(event, context):\n    return 1\n"}
    plain = {"FunctionName": name, "Code": code, "Handler": "index.handler", "Runtime": "python3.12", "Role": role}
    stack = create(emulator, resource("AWS::Lambda::Function", **plain))
    ended(emulator, stack)

    update(emulator, stack, resource("AWS::Lambda::Function", **plain, DeadLetterConfig={"TargetArn": queue}))

    found = emulator.client("lambda").get_function_configuration(FunctionName=name)
    assert found["DeadLetterConfig"] == {"TargetArn": queue}
