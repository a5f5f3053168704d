"""CloudFormation: names in use, stack events, unresolved references, replacement, and retained resources."""

import contextlib
import json
from typing import Any

from botocore.exceptions import ClientError, WaiterError

from recordings import Responses, refusal, replays, unique
from rehearsal.server import Emulator

ACCEPTED: dict[str, dict[str, str]] = {
    "test_stacks::TestStacksApi::test_list_events_after_deployment": {
        "events.StackEvents.*.EventId": "the recording has the word 'date' for the time at its end",
        "events.StackEvents.*.ResourceProperties": "ministack keeps no properties in events",
    },
    "test_replacement::test_requires_replacement": {
        "queue-events.*.PhysicalResourceId": "a queue's address is on this machine, so that it can be called",
    },
}
NOT_REPLAYED: dict[str, str] = {}
CAPABILITIES = ["CAPABILITY_AUTO_EXPAND", "CAPABILITY_IAM", "CAPABILITY_NAMED_IAM"]
QUICK = {"Delay": 1, "MaxAttempts": 60}
TOPIC = {"Type": "AWS::SNS::Topic"}
EVENT = ("LogicalResourceId", "PhysicalResourceId", "ResourceStatus", "ResourceType", "Timestamp")


def template(**sections: Any) -> str:
    return json.dumps(sections)


def parameter(name: str = "SimpleParam", **more: Any) -> dict[str, Any]:
    return {name: {"Type": "AWS::SSM::Parameter", "Properties": {"Type": "String", "Value": "test"}, **more}}


def create(aws: Emulator, body: str, name: str | None = None, **more: Any) -> str:
    """Create a stack, wait for it to complete, and return its id."""
    cloudformation, name = aws.client("cloudformation"), name or unique("recorded")
    stack = cloudformation.create_stack(StackName=name, TemplateBody=body, **more)["StackId"]
    cloudformation.get_waiter("stack_create_complete").wait(StackName=stack, WaiterConfig=QUICK)
    return stack


def deploy(aws: Emulator, body: str, **more: Any) -> dict[str, Any]:
    """Create a stack by executing a change set, wait for it, and return the response of CreateChangeSet."""
    cloudformation = aws.client("cloudformation")
    made = cloudformation.create_change_set(TemplateBody=body, ChangeSetType="CREATE", **more)
    cloudformation.get_waiter("change_set_create_complete").wait(ChangeSetName=made["Id"], WaiterConfig=QUICK)
    cloudformation.execute_change_set(ChangeSetName=made["Id"])
    with contextlib.suppress(WaiterError):  # there are recordings of failed creations, too
        cloudformation.get_waiter("stack_create_complete").wait(StackName=made["StackId"], WaiterConfig=QUICK)
    return made


def delete(aws: Emulator, stack: str) -> None:
    cloudformation = aws.client("cloudformation")
    cloudformation.delete_stack(StackName=stack)
    cloudformation.get_waiter("stack_delete_complete").wait(StackName=stack, WaiterConfig=QUICK)


def events(aws: Emulator, stack: str, logical_id: str) -> list[dict[str, Any]]:
    """Return a resource's events, oldest first, with the fields that the recordings keep.

    Of consecutive events with the same status only the last is kept.
    """
    found = aws.client("cloudformation").describe_stack_events(StackName=stack)["StackEvents"][::-1]
    kept = [{key: event[key] for key in EVENT} for event in found if event["LogicalResourceId"] == logical_id]
    statuses = [event["ResourceStatus"] for event in kept] + [""]
    return [event for event, following in zip(kept, statuses[1:], strict=True) if event["ResourceStatus"] != following]


@replays("test_changesets::test_name_conflicts")
def change_sets_of_taken_names(aws: Emulator) -> Responses:
    cloudformation, body = aws.client("cloudformation"), template(Resources=parameter())
    names = {"StackName": unique("recorded"), "ChangeSetName": unique("changes")}
    first = deploy(aws, body, **names)
    again = {"TemplateBody": body, "ChangeSetType": "CREATE", **names}
    refused = refusal(cloudformation.create_change_set, **again)
    described = cloudformation.describe_change_set(ChangeSetName=first["Id"])
    delete(aws, first["StackId"])
    second = cloudformation.create_change_set(**again)
    cloudformation.get_waiter("change_set_create_complete").wait(ChangeSetName=second["Id"], WaiterConfig=QUICK)
    return {
        "create_changeset_existingstack_exc": refused,
        "initial_changeset_id_desc": described,
        "second_initial_changeset_id_desc": cloudformation.describe_change_set(ChangeSetName=second["Id"]),
        "stack_id_desc": cloudformation.describe_stacks(StackName=first["StackId"]),
        "new_stack_id_desc": cloudformation.describe_stacks(StackName=second["StackId"]),
        "new_stack_desc": cloudformation.describe_stacks(StackName=names["StackName"]),
    }


@replays("test_stacks::TestStacksApi::test_list_events_after_deployment")
def events_of_a_creation(aws: Emulator) -> Responses:
    body = template(Resources={"topic123": TOPIC | {"Properties": {"TopicName": unique("recorded")}}})
    name = unique("recorded")
    deploy(aws, body, StackName=name, ChangeSetName=unique("changes"))
    found = aws.client("cloudformation").describe_stack_events(StackName=name)
    return {"events": {**found, "StackEvents": found["StackEvents"][::-1]}}


@replays("test_stacks::test_name_conflicts")
def stacks_of_taken_names(aws: Emulator) -> Responses:
    cloudformation, name, body = aws.client("cloudformation"), unique("recorded"), template(Resources=parameter())
    describe = cloudformation.describe_stacks
    first = create(aws, body, name)
    created = describe(StackName=name)["Stacks"][0]["StackStatus"]
    refused = refusal(cloudformation.create_stack, StackName=name, TemplateBody=body)
    delete(aws, first)
    gone = refusal(describe, StackName=name)
    no_events = refusal(cloudformation.describe_stack_events, StackName=name)
    deleted = describe(StackName=first)
    second = create(aws, body, name)
    responses = {
        "created_stack_desc": created,
        "create_stack_already_exists_exc": refused,
        "deleted_stack_not_found_exc": gone,
        "deleted_stack_events_not_found_by_name": no_events,
        "deleted_stack_desc": deleted,
        "new_stack_desc": describe(StackName=name),
        "new_stack_id_desc": describe(StackName=second),
        "stack_id_desc": describe(StackName=first),
    }
    delete(aws, second)
    return responses | {"deleted_second_stack_desc": describe(StackName=second)}


@replays("test_stacks::test_no_parameters_given")
def parameters_without_values(aws: Emulator) -> Responses:
    body = template(Parameters={"Input": {"Type": "String"}}, Resources=parameter())
    names = {"StackName": unique("recorded"), "ChangeSetName": unique("changes")}
    try:
        aws.client("cloudformation").create_change_set(TemplateBody=body, ChangeSetType="CREATE", **names)
    except ClientError as error:
        return {"deploy-error": str(error)}
    return {}


@replays("test_stacks::test_non_existing_stack_message")
def stacks_that_do_not_exist(aws: Emulator) -> Responses:
    return {"Error": refusal(aws.client("cloudformation").describe_stacks, StackName=unique("recorded"))}


def refused_template(aws: Emulator, **sections: Any) -> dict[str, Any]:
    refused = {"StackName": unique("recorded"), "TemplateBody": template(**sections)}
    return refusal(aws.client("cloudformation").create_stack, **refused)


@replays("test_validations::test_resources_blocks[missing-type]")
def resources_without_type(aws: Emulator) -> Responses:
    return {"validation-error": refused_template(aws, Resources={"A": {}})}


NEVER = {"Never": {"Fn::Equals": ["yes", "no"]}}
SKIPPED = {"MyTopic": TOPIC | {"Condition": "Never"}}


@replays("test_conditions::TestCloudFormationConditions::test_dependent_ref")
def references_to_skipped_resources(aws: Emulator) -> Responses:
    policy = {"Type": "AWS::SSM::Parameter", "Properties": {"Type": "String", "Value": {"Ref": "MyTopic"}}}
    return {"dependent_ref_exc": refused_template(aws, Conditions=NEVER, Resources=SKIPPED | {"Policy": policy})}


@replays("test_conditions::TestCloudFormationConditions::test_output_reference_to_skipped_resource")
def outputs_of_skipped_resources(aws: Emulator) -> Responses:
    outputs = {"TopicName": {"Value": {"Ref": "MyTopic"}}}
    refused = refused_template(aws, Conditions=NEVER, Resources=SKIPPED | parameter(), Outputs=outputs)
    return {"unresolved_resource_reference_exception": refused}


@replays("test_references::TestDependsOn::test_depends_on_with_missing_reference")
def dependencies_that_do_not_exist(aws: Emulator) -> Responses:
    resources = parameter("A", DependsOn=["NonExistingResource"])
    return {"depends_on_nonexisting_exception": refused_template(aws, Resources=resources)}


@replays("test_deletion_policy::test_deletion_policy_with_retain")
def retained_resources(aws: Emulator) -> Responses:
    name = unique("recorded")
    properties = {"Name": "CFN-MyParameter-EZmrlQrQjjTv", "Type": "String", "Value": "test"}
    body = template(Resources=parameter("MyParameter", DeletionPolicy="Retain", Properties=properties))
    stack = deploy(aws, body, StackName=name, ChangeSetName=unique("changes"))["StackId"]
    delete(aws, stack)
    return {
        "per-resource-events": {"MyParameter": events(aws, stack, "MyParameter"), "Stack": events(aws, stack, name)}
    }


@replays("test_replacement::test_requires_replacement")
def a_queue_that_is_replaced(aws: Emulator) -> Responses:
    def body(queue: str) -> str:
        return template(Resources={"MyQueue": {"Type": "AWS::SQS::Queue", "Properties": {"QueueName": queue}}})

    cloudformation = aws.client("cloudformation")
    stack = create(aws, body(unique("recorded")))
    cloudformation.update_stack(StackName=stack, TemplateBody=body("queue-47128d25"))
    cloudformation.get_waiter("stack_update_complete").wait(StackName=stack, WaiterConfig=QUICK)
    return {"queue-events": events(aws, stack, "MyQueue")}


@replays("test_logs::test_handle_existing_log_group")
def a_log_group_that_exists(aws: Emulator) -> Responses:
    cloudformation, group, name = aws.client("cloudformation"), unique("recorded"), unique("recorded")
    aws.client("logs").create_log_group(logGroupName=group)
    properties = {"LogGroupName": {"Ref": "LogGroupName"}}
    resources = {"LogGroup": {"Type": "AWS::Logs::LogGroup", "Properties": properties}}
    deploy(
        aws,
        template(Parameters={"LogGroupName": {"Type": "String"}}, Resources=resources),
        StackName=name,
        ChangeSetName=unique("changes"),
        Parameters=[{"ParameterKey": "LogGroupName", "ParameterValue": group}],
        Capabilities=CAPABILITIES,
    )
    return {"failed-stack-describe": cloudformation.describe_stacks(StackName=name)["Stacks"][0]}
