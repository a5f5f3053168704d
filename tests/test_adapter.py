"""The contract with ministack: every name that rehearsal/aws/adapter patches or calls exists, with its parameters."""

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
    "ministack.core.lambda_runtime": ["_lock", "_workers", "kill_workers"],
    "ministack.core.responses": ["error_response_json", "json_response", "now_iso", "request_scope"],
    "ministack.core.iam_actions": ["SERVICE_TO_IAM_NAMESPACE", "extract_iam_action", "extract_resource_arn"],
    "ministack.core.sigv4": [
        "header_signature_failure", "parse_header_signature", "parse_query_signature", "presigned_request_is_expired",
        "request_time_failure",
    ],
    "ministack.core.iam_evaluator": [
        "is_root_access_key", "CredentialResolutionError", "EvalContext", "_conditions_met", "_service_principal_matches", "enforce", "evaluate", "evaluate_resource_policy",
        "resolve_credential", "resolve_principal",
    ],
    "ministack.services.sts": ["register_session"],
    "ministack.services.iam": [
        "_IAM_HANDLERS", "_create_policy", "_create_policy_version", "_create_role", "_error", "_p", "_put_role_policy",
        "_put_user_policy", "_roles", "_update_assume_role_policy",
    ],
    "ministack.services.eventbridge": [
        "_dispatch_event", "_dispatch_to_lambda", "_dispatch_to_sns", "_invoke_target", "_list_targets_by_rule",
        "_opaque_offset_decode", "_opaque_offset_encode", "_pattern_event_view", "_put_events", "_put_rule", "_put_targets", "_rule_key",
        "_rules", "_targets",
    ],
    "ministack.services.lambda_svc": [
        "_add_permission", "_create_function", "_execute_function", "_execute_function_warm", "_execution_record_for_config", "_fetch_code_from_s3",
        "_func_arn", "_function_qualifier_exists", "_functions", "_get_func_record_for_ref", "_get_policy",
        "_put_event_invoke_config", "_qp_first", "_qualifier_from_path_or_query", "_remove_permission", "_route_async_failure",
        "_update_code", "_update_config", "error_response_json", "invoke_async_with_retry", "json_response",
    ],
    "ministack.services.s3": [
        "_MALFORMED_XML", "_S3_EVENTBRIDGE_EVENT_DETAIL_TYPE", "_bucket_versioning", "_buckets", "_delete_object_version", "_delete_objects", "_deliver_event_to_lambda", "_deliver_event_to_sns",
        "_deliver_event_to_sqs", "_error", "_fire_s3_event", "_fire_s3_event_async", "_get_object_acl", "_next_event_sequencer",
        "_object_error", "_object_record_from_version", "_object_response_headers", "_object_versions", "_put_bucket_policy",
        "_put_object", "_put_object_acl", "_read_body", "_record_object_version", "_restore_expiry_iso", "_version_body",
        "_version_entry_from_record", "fromstring",
    ],
    "ministack.services.codebuild": [
        "EXECUTE_BUILDS", "_builds", "_execute_build", "_finish_build", "_get_docker", "_projects", "_record_phase",
        "_stop_build", "_stop_requested",
    ],
    "ministack.services.cloudwatch_logs": ["_append_log_events", "_log_groups", "_make_group_arn"],
    "ministack.services.cloudformation": ["_stack_events", "_stacks"],
    "ministack.services.cloudformation.changesets": ["_add_event", "_resolve_parameters", "validate_template_support"],
    "ministack.services.cloudformation.custom_resource": ["_lock", "_pending", "deliver_response"],
    "ministack.services.cloudformation.engine": [
        "_evaluate_conditions", "_has_dynamic_references", "_resolve_parameters", "_topological_sort", "validate_template_support",
    ],
    "ministack.services.cloudformation.handlers": [
        "_ACTION_HANDLERS", "_add_event", "_create_stack", "_describe_change_set", "_describe_stack_events", "_describe_stacks",
        "_error", "_p", "_resolve_parameters", "_resolve_stack", "_roll_back_operation", "_stack_has_no_updates",
        "validate_template_support",
    ],
    "ministack.services.cloudformation.provisioners": ["_RESOURCE_HANDLERS", "_lambda_delete", "_replacing_change"],
    "ministack.services.cloudformation.stacks": [
        "_add_event", "_delete_resource", "_provision_resource", "_roll_back_operation", "_runs_on_worker_thread",
        "_stack_tags_changed", "_update_resource",
    ],
    "ministack.services.cloudwatch": [
        "_alarms", "_calc_stats", "_cbor_ok", "_dims_key", "_error", "_dispatch_alarm_actions", "_evaluate_alarm", "_evaluate_all_alarms",
        "_evaluate_parent_alarms", "_get_metric_data", "_history_entries", "_json_ok", "_metrics", "_p", "_put_metric_alarm",
        "_record_history", "_stat_value", "_ts_iso", "record_metric",
    ],
    "ministack.services.sns": [
        "_create_topic", "_deliver_to_lambda", "_error", "_p", "_publish", "_set_topic_attributes", "_subscribe", "_topics",
        "publish_internal", "topic_policy_allows",
    ],
    "ministack.services.sqs": [
        "_Err", "_HANDLERS", "_act_send_message", "_dispatch", "_queue_by_arn", "_queue_name_to_url", "_queues", "_refresh_counts",
        "queue_policy_allows",
    ],
    "ministack.services.tagging": ["_RESOURCE_TAG_COLLECTORS"],
}  # fmt: skip
ARGUMENTS = {
    "ministack.services.sns.topic_policy_allows": ["topic_arn", "service", "source_arn", "source_account"],
    "ministack.services.sqs.queue_policy_allows": ["queue_arn", "service", "source_arn", "source_account"],
    "ministack.services.sns._deliver_to_lambda": [
        "endpoint",
        "envelope",
        "topic_arn",
        "sub_arn",
        "msg_id",
        "raw_message",
        "message_attributes",
    ],
    "ministack.services.sns._error": ["code", "message", "status"],
    "ministack.services.s3._delete_objects": ["bucket_name", "body", "headers"],
    "ministack.services.s3._object_response_headers": ["obj", "bucket_name", "key", "include_checksums"],
    "ministack.services.s3._delete_object_version": ["bucket", "bucket_name", "key", "version_id"],
    "ministack.services.s3._object_record_from_version": ["v"],
    "ministack.services.s3._put_bucket_policy": ["name", "body"],
    "ministack.services.s3._read_body": ["bucket_name", "key", "obj"],
    "ministack.services.s3._record_object_version": ["bucket_name", "key", "prior_obj", "obj", "data"],
    "ministack.services.s3._version_body": ["bucket", "bucket_name", "key", "v"],
    "ministack.services.s3._version_entry_from_record": ["obj", "version_id", "data"],
    "ministack.services.s3._put_object": ["bucket_name", "key", "body", "headers"],
    "ministack.services.s3._put_object_acl": ["bucket_name", "key", "body", "headers", "query_params"],
    "ministack.services.lambda_svc._add_permission": ["func_name", "data", "query_params", "path_qualifier"],
    "ministack.services.lambda_svc._create_function": ["data"],
    "ministack.services.lambda_svc._execute_function_warm": ["func", "event", "request_id"],
    "ministack.services.lambda_svc._get_policy": ["func_name", "query_params", "path_qualifier"],
    "ministack.services.lambda_svc._put_event_invoke_config": ["func_name", "qualifier", "data"],
    "ministack.services.lambda_svc._remove_permission": ["func_name", "sid", "query_params", "path_qualifier"],
    "ministack.services.lambda_svc._route_async_failure": ["target_arn", "func_name", "event", "result"],
    "ministack.services.lambda_svc._update_code": ["name", "data"],
    "ministack.services.lambda_svc._update_config": ["name", "data"],
    "ministack.services.cloudwatch._dispatch_alarm_actions": ["alarm", "old_state", "new_state", "reason"],
    "ministack.services.cloudwatch._evaluate_alarm": ["alarm"],
    "ministack.services.cloudwatch._get_metric_data": ["params", "cbor_data", "is_cbor", "is_json"],
    "ministack.services.cloudwatch._put_metric_alarm": ["params", "cbor_data", "is_cbor", "is_json"],
    "ministack.services.sqs._dispatch": ["action", "data", "qurl"],
    "ministack.services.eventbridge._invoke_target": ["target", "event", "rule", "view"],
    "ministack.services.eventbridge._dispatch_event": ["event", "view"],
    "ministack.services.eventbridge._put_rule": ["data"],
    "ministack.services.codebuild._execute_build": ["build_id", "project"],
    "ministack.services.codebuild._stop_build": ["data"],
    "ministack.services.cloudformation.provisioners._lambda_delete": ["physical_id", "props"],
    "ministack.services.eventbridge._dispatch_to_lambda": ["arn", "payload"],
    "ministack.services.eventbridge._dispatch_to_sns": ["arn", "payload"],
    "ministack.services.eventbridge._put_targets": ["data"],
    "ministack.services.eventbridge._list_targets_by_rule": ["data"],
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
    "ministack.services.cloudformation.custom_resource.deliver_response": ["token", "response"],
    "ministack.services.cloudformation.engine._resolve_parameters": ["template", "provided_params", "previous_params"],
    "ministack.services.cloudformation.engine.validate_template_support": ["template", "conditions", "params"],
    "ministack.services.cloudformation.handlers._stack_has_no_updates": [
        "stack",
        "template",
        "param_values",
        "tags",
        "use_previous_template",
        "tags_given",
    ],
    "ministack.services.cloudformation.stacks._add_event": [
        "stack_id",
        "stack_name",
        "logical_id",
        "resource_type",
        "status",
        "reason",
        "physical_id",
        "detailed_status",
    ],
    "ministack.services.cloudformation.stacks._roll_back_operation": [
        "stack_name",
        "stack_id",
        "stack",
        "operation",
        "reason_override",
    ],
    "ministack.services.cloudformation.stacks._update_resource": [
        "resource_type",
        "physical_id",
        "old_props",
        "new_props",
        "stack_name",
        "logical_id",
        "old_attrs",
    ],
}


def in_emulator(code: str) -> object:
    """Run a program with the emulator's Python; return the JSON on the last line that it prints."""
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


def test_a_bucket_that_is_not_empty_is_not_deleted_with_its_stack(emulator):
    """ministack alone would delete the bucket. In AWS, deleting a project fails if its cleanup forgets the bucket."""
    cloudformation, s3 = emulator.client("cloudformation"), emulator.client("s3")
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


def test_an_event_of_a_versioned_bucket_carries_its_version(emulator, bucket):
    """ministack alone sends no version id, which the function that runs the pipeline needs."""
    sqs, events = emulator.client("sqs"), emulator.client("events")
    allow = {
        "Effect": "Allow",
        "Principal": {"Service": "events.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": "*",
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [allow]})
    queue = sqs.create_queue(QueueName="events-of-tests", Attributes={"Policy": policy})["QueueUrl"]
    pattern = {"source": ["aws.s3"], "detail": {"object": {"key": ["watched"]}}}
    events.put_rule(Name="watched", EventPattern=json.dumps(pattern))
    events.put_targets(
        Rule="watched", Targets=[{"Id": "q", "Arn": "arn:aws:sqs:us-east-1:111122223333:events-of-tests"}]
    )
    s3 = emulator.client("s3")
    s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration={"EventBridgeConfiguration": {}})

    version = s3.put_object(Bucket=bucket, Key="watched", Body=b"x")["VersionId"]

    messages = sqs.receive_message(QueueUrl=queue, WaitTimeSeconds=10)["Messages"]
    assert json.loads(messages[0]["Body"])["detail"]["object"]["version-id"] == version
