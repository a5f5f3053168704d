"""The function that deploys a model: with the template and parameters of its package, from the project's bucket."""

import time

import pytest

import deploy_model
from spotkit.checks.project import Project
from stacks import find_stack

PROJECT = Project("tests", "p-tests", "tests-111122223333", "tests")
TEMPLATE = """
Parameters:
  ProjectName: {Type: String}
  ProjectId: {Type: String}
  Stage: {Type: String}
  ModelPackageArn: {Type: String}
  EndpointRoleArn: {Type: String}
  InstanceType: {Type: String}
Resources:
  Parameter:
    Type: AWS::SSM::Parameter
    Properties: {Type: String, Value: !Ref ModelPackageArn}
"""


def package(address: str) -> dict:
    return {"ModelPackageArn": "arn:of:package/1", "CustomerMetadataProperties": {"Deployment": address}}


@pytest.mark.parametrize(
    "address", ["", "s3://another-bucket/deploy/1", "s3://tests-111122223333/code/1", "https://x/deploy/1"]
)
def test_an_address_that_is_not_the_projects_is_refused(emulator, bucket, address):
    with pytest.raises(
        ValueError, match="not s3://tests-111122223333/deploy/<hash>. Register it by the project's pipeline"
    ):
        deploy_model.read_deployment(emulator.client("s3"), PROJECT, package(address))


def test_template_and_parameters_come_from_the_packages_address(emulator, bucket):
    s3 = emulator.client("s3")
    for name, body in (("endpoint.yaml", b"Resources: {}"), ("staging.json", b'{"InstanceType": "ml.m5.large"}')):
        s3.put_object(Bucket=bucket, Key=f"deploy/abc/{name}", Body=body)

    read = deploy_model.read_deployment(s3, PROJECT, package(f"s3://{bucket}/deploy/abc"))

    assert read == ("Resources: {}", {"InstanceType": "ml.m5.large"})


def test_parameters_that_are_no_json_are_named(emulator, bucket):
    s3 = emulator.client("s3")
    for name, body in (("endpoint.yaml", b"Resources: {}"), ("staging.json", b"{")):
        s3.put_object(Bucket=bucket, Key=f"deploy/broken/{name}", Body=body)

    with pytest.raises(ValueError, match=f"s3://{bucket}/deploy/broken/staging.json is not JSON: Expecting property"):
        deploy_model.read_deployment(s3, PROJECT, package(f"s3://{bucket}/deploy/broken"))


def test_a_stack_is_created_then_updated_then_left_alone(emulator, make_role, monkeypatch):
    cloudformation = emulator.client("cloudformation")
    role = make_role("endpoint-stack", "cloudformation", "ssm:*")
    monkeypatch.setenv("STACK_ROLE_ARN", role)
    monkeypatch.setenv("ENDPOINT_ROLE_ARN", role)

    def deploy(version: int) -> str:
        parameters = {"InstanceType": "ml.m5.large"}
        done = deploy_model.deploy(cloudformation, PROJECT, f"arn:of:package/{version}", TEMPLATE, parameters)
        waiter = "stack_update_complete" if done["outcome"] == "updated" else "stack_create_complete"
        if done["outcome"] != "unchanged":
            cloudformation.get_waiter(waiter).wait(StackName=done["stack"], WaiterConfig={"Delay": 1})
        return done["outcome"]

    assert [deploy(1), deploy(2), deploy(2)] == ["created", "updated", "unchanged"]


FAILING = (
    TEMPLATE
    + """
  Taken:
    Type: AWS::SNS::Topic
    DependsOn: Parameter
    Properties: {TopicName: not-allowed}
"""
)


def test_a_first_deployment_that_fails_stays_to_be_read_and_makes_room_for_the_next(emulator, make_role, monkeypatch):
    cloudformation = emulator.client("cloudformation")
    role = make_role("failing-stack", "cloudformation", "ssm:*")  # it may not create a topic
    monkeypatch.setenv("STACK_ROLE_ARN", role)
    monkeypatch.setenv("ENDPOINT_ROLE_ARN", role)
    monkeypatch.setenv("WAIT_SECONDS", "0.1")
    project = Project("failing", "p-failing", "tests-111122223333", "failing")
    name = project.stack_name("staging")

    def deploy(template: str) -> str:
        deploy_model.remove_failed(cloudformation, name, time.monotonic() + 60)
        done = deploy_model.deploy(
            cloudformation, project, "arn:of:package/1", template, {"InstanceType": "ml.m5.large"}
        )
        deploy_model.wait_for_stack(cloudformation, name, time.monotonic() + 60)
        return f"{done['outcome']}: {find_stack(cloudformation, name)['StackStatus']}"

    failed = deploy(FAILING)
    events = cloudformation.describe_stack_events(StackName=name)["StackEvents"]
    reasons = [event["ResourceStatusReason"] for event in events if event["ResourceStatus"] == "CREATE_FAILED"]

    assert failed == "created: ROLLBACK_COMPLETE"
    assert "is not authorized to perform: sns:CreateTopic" in reasons[0]
    assert deploy(TEMPLATE) == "created: CREATE_COMPLETE"


def test_a_stack_that_is_not_there_is_none(emulator):
    assert find_stack(emulator.client("cloudformation"), "no-such-stack") is None


GROUP = """
Resources:
  Group:
    Type: AWS::SageMaker::ModelPackageGroup
    Properties: {ModelPackageGroupName: newest-of-tests}
"""


@pytest.fixture
def group(emulator) -> str:
    cloudformation = emulator.client("cloudformation")
    cloudformation.create_stack(StackName="group-of-tests", TemplateBody=GROUP)
    cloudformation.get_waiter("stack_create_complete").wait(StackName="group-of-tests", WaiterConfig={"Delay": 1})
    return "newest-of-tests"


def test_a_late_event_of_an_older_version_finds_the_newer_one_approved(emulator, group):
    sagemaker = emulator.client("sagemaker")

    def register(status: str) -> str:
        created = sagemaker.create_model_package(ModelPackageGroupName=group, ModelApprovalStatus=status)
        return created["ModelPackageArn"]

    nothing = deploy_model.newest_approved(sagemaker, group)
    register("Approved")
    newer = register("Approved")
    register("PendingManualApproval")
    register("Rejected")

    assert (nothing, deploy_model.newest_approved(sagemaker, group)) == (None, newer)


def test_waiting_for_a_stack_that_is_not_there_ends_at_once(emulator):
    assert deploy_model.wait_for_stack(emulator.client("cloudformation"), "no-such-stack", deadline=0) is None
