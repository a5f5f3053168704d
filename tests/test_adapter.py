"""The contract with ministack: the seams that rehearsal/aws/adapter uses are there, with the shape it relies on."""

import json
import subprocess

import pytest
from botocore.exceptions import ClientError
from conftest import wait_for

from rehearsal.server import EMULATOR

SEAMS = {
    "ministack.app": ["app", "SERVICE_HANDLERS"],
    "ministack.core.router": ["SERVICE_PATTERNS", "detect_service"],
    "ministack.core.concurrency": ["run_reentrant"],
    "ministack.core.responses": ["error_response_json", "request_scope"],
    "ministack.core.iam_actions": ["SERVICE_TO_IAM_NAMESPACE", "extract_iam_action", "extract_resource_arn"],
    "ministack.core.iam_evaluator": [
        "EvalContext", "_conditions_met", "_service_principal_matches", "enforce", "evaluate", "resolve_credential",
        "resolve_principal",
    ],
    "ministack.services.sts": ["register_session"],
    "ministack.services.iam": ["_roles"],
    "ministack.services.eventbridge": [
        "_apply_input_transformer", "_dispatch_event", "_dispatch_to_lambda", "_invoke_target", "_pattern_event_view", "_put_events",
        "_put_rule", "_rules",
    ],
    "ministack.services.lambda_svc": [
        "_execution_record_for_config", "_functions", "_get_func_record_for_ref", "invoke_async_with_retry",
    ],
    "ministack.services.s3": ["_error", "_fire_s3_event"],
    "ministack.services.codebuild": [
        "EXECUTE_BUILDS", "_builds", "_execute_build", "_finish_build", "_get_docker", "_record_phase", "_stop_requested",
    ],
    "ministack.services.cloudwatch_logs": ["_append_log_events", "_log_groups", "_make_group_arn"],
    "ministack.services.cloudformation.provisioners": ["_RESOURCE_HANDLERS"],
    "ministack.services.cloudformation.stacks": ["_add_event", "_delete_resource", "_provision_resource", "_runs_on_worker_thread"],
    "ministack.services.sns": ["_topics"],
    "ministack.services.tagging": ["_RESOURCE_TAG_COLLECTORS"],
}  # fmt: skip
ARGUMENTS = {
    "ministack.services.eventbridge._invoke_target": ["target", "event", "rule", "view"],
    "ministack.services.eventbridge._dispatch_event": ["event", "view"],
    "ministack.services.eventbridge._put_rule": ["data"],
    "ministack.services.codebuild._execute_build": ["build_id", "project"],
    "ministack.services.eventbridge._dispatch_to_lambda": ["arn", "payload"],
    "ministack.services.lambda_svc.invoke_async_with_retry": ["func", "event"],
    "ministack.core.iam_actions.extract_iam_action": ["service", "method", "path", "headers", "body", "query_params"],
    "ministack.services.cloudformation.stacks._delete_resource": [
        "resource_type",
        "physical_id",
        "props",
        "stack_name",
        "logical_id",
    ],
    "ministack.services.cloudformation.stacks._provision_resource": [
        "resource_type",
        "logical_id",
        "props",
        "stack_name",
    ],
    "ministack.services.cloudformation.stacks._runs_on_worker_thread": ["resource_type"],
}


def in_emulator(code: str) -> object:
    """The JSON that a program prints in the emulator's environment."""
    done = subprocess.run([str(EMULATOR), "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def seams() -> dict:
    code = f"""
import importlib, inspect, json
missing = [f"{{module}}.{{name}}" for module, names in {SEAMS!r}.items() for name in names
           if not hasattr(importlib.import_module(module), name)]
arguments = {{}}
for path in {list(ARGUMENTS)!r}:
    module, _, name = path.rpartition(".")
    arguments[path] = list(inspect.signature(getattr(importlib.import_module(module), name)).parameters)
print(json.dumps({{"missing": missing, "arguments": arguments}}))
"""
    return in_emulator(code)


def test_every_seam_is_there(seams):
    assert seams["missing"] == []


def test_the_functions_that_are_replaced_take_what_ours_take(seams):
    assert seams["arguments"] == ARGUMENTS


BUCKET = """
Resources:
  Bucket:
    Type: AWS::S3::Bucket
    Properties: {BucketName: full-111122223333}
"""


def test_a_bucket_that_is_not_empty_is_not_deleted_with_its_stack(played):
    """ministack deletes it; in AWS, a project whose clean-up forgets the bucket cannot be deleted."""
    cloudformation, s3 = played.client("cloudformation"), played.client("s3")
    cloudformation.create_stack(StackName="full", TemplateBody=BUCKET)
    cloudformation.get_waiter("stack_create_complete").wait(StackName="full", WaiterConfig={"Delay": 1})
    s3.put_object(Bucket="full-111122223333", Key="left", Body=b"x")

    def ended() -> str | None:
        try:
            status = cloudformation.describe_stacks(StackName="full")["Stacks"][0]["StackStatus"]
        except ClientError:
            return "gone"
        return None if status.endswith("IN_PROGRESS") else status

    cloudformation.delete_stack(StackName="full")
    refused = wait_for(ended)
    s3.delete_object(Bucket="full-111122223333", Key="left")
    cloudformation.delete_stack(StackName="full")

    assert (refused, wait_for(ended)) == ("DELETE_FAILED", "gone")


def test_an_event_of_a_versioned_bucket_carries_its_version(played, bucket):
    """ministack's own lacks it; the function that runs the pipeline lives by it."""
    sqs, events = played.client("sqs"), played.client("events")
    queue = sqs.create_queue(QueueName="events-of-tests")["QueueUrl"]
    pattern = {"source": ["aws.s3"], "detail": {"object": {"key": ["watched"]}}}
    events.put_rule(Name="watched", EventPattern=json.dumps(pattern))
    events.put_targets(
        Rule="watched", Targets=[{"Id": "q", "Arn": "arn:aws:sqs:us-east-1:111122223333:events-of-tests"}]
    )
    s3 = played.client("s3")
    s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration={"EventBridgeConfiguration": {}})

    version = s3.put_object(Bucket=bucket, Key="watched", Body=b"x")["VersionId"]

    messages = sqs.receive_message(QueueUrl=queue, WaitTimeSeconds=10)["Messages"]
    assert json.loads(messages[0]["Body"])["detail"]["object"]["version-id"] == version
