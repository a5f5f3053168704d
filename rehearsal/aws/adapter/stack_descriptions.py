"""Describe stacks and their events as CloudFormation does, where ministack's members, times or events differ.

What AWS returns is known from recordings and from
docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_Stack.html and API_StackEvent.html.
"""

import re
from typing import Any

from ministack.core.responses import now_iso
from ministack.services import cloudformation
from ministack.services.cloudformation import changesets, handlers, stacks

from rehearsal.aws.adapter.services import Response

_STACK = "AWS::CloudFormation::Stack"
_STARTED, _BY_USER = "Resource creation Initiated", "User Initiated"
_REVIEWED = "REVIEW_IN_PROGRESS"
_DELETING = ("DELETE_IN_PROGRESS", "ROLLBACK_IN_PROGRESS")
# AWS omits these if they are empty.
_EMPTY = re.compile(r"<(Description|StackStatusReason|StatusReason|Parameters|Outputs|Tags|LastUpdatedTime)></\1>")
_ALWAYS = "<NotificationARNs/><RollbackConfiguration/>"
_PROTECTION = re.compile(r"<EnableTerminationProtection>\w+</EnableTerminationProtection>")
_NO_CAPABILITIES = "<Capabilities></Capabilities>"


def _add_event(
    stack_id: str,
    stack_name: str,
    logical_id: str,
    resource_type: str,
    status: str,
    reason: str = "",
    physical_id: str = "",
    detailed_status: str = "",
) -> None:
    """Add a stack event, with the reasons that AWS gives, and record the time when a deletion begins.

    The completion of a resource's creation or replacement is preceded by an event that has the new physical id.
    """
    of_stack = physical_id == stack_id
    if status == _REVIEWED:
        reason = reason or _BY_USER
        cloudformation._stacks[stack_name] |= {"StackStatusReason": reason, "LastUpdatedTime": ""}
    elif status == "CREATE_IN_PROGRESS" and of_stack:
        reason = reason or _BY_USER
        cloudformation._stacks[stack_name]["StackStatusReason"] = ""
    if status == "CREATE_COMPLETE" and not of_stack:
        _add(stack_id, stack_name, logical_id, resource_type, "CREATE_IN_PROGRESS", _STARTED, physical_id)
    if status == "UPDATE_COMPLETE" and _replaced(stack_id, logical_id, physical_id):
        _add(stack_id, stack_name, logical_id, resource_type, "UPDATE_IN_PROGRESS", _STARTED, physical_id)
    _add(stack_id, stack_name, logical_id, resource_type, status, reason, physical_id, detailed_status)
    if of_stack and status in _DELETING and (stack := cloudformation._stacks.get(stack_name)):
        stack.setdefault("DeletionTime", now_iso())


def _add(stack_id: str, stack_name: str, logical_id: str, resource_type: str, status: str, *more: str) -> None:
    _original_add(stack_id, stack_name, logical_id, resource_type, status, *more)
    if resource_type != _STACK:
        event = cloudformation._stack_events[stack_id][-1]
        event["EventId"] = f"{logical_id}-{status}-{event['Timestamp']}"


def _replaced(stack_id: str, logical_id: str, physical_id: str) -> bool:
    """Return whether an update replaced a resource: then its last event has the old physical id."""
    last = last_event(stack_id, logical_id)
    return last["ResourceStatus"] == "UPDATE_IN_PROGRESS" and last["PhysicalResourceId"] not in ("", physical_id)


def last_event(stack_id: str, logical_id: str) -> dict[str, Any]:
    """Return the last event of a resource; if it has none, an event with an empty status and physical id."""
    events = reversed(cloudformation._stack_events.get(stack_id, []))
    none = {"ResourceStatus": "", "PhysicalResourceId": ""}
    return next((event for event in events if event["LogicalResourceId"] == logical_id), none)


def _describe_stack_events(params: dict[str, Any]) -> Response:
    name = handlers._p(params, "StackName")
    # A deleted stack can be described only by its id.
    if (stack := cloudformation._stacks.get(name)) and name == stack["StackName"] and _is_deleted(stack):
        return handlers._error("ValidationError", f"Stack [{name}] does not exist")
    status, headers, content = _original_events(params)
    text = content.decode() if isinstance(content, bytes) else content
    return status, headers, text.replace("<ResourceStatusReason></ResourceStatusReason>", "").encode()


def _is_deleted(stack: dict[str, Any]) -> bool:
    return stack["StackStatus"] == "DELETE_COMPLETE"


def _describe_change_set(params: dict[str, Any]) -> Response:
    status, headers, content = _original_change_set(params)
    text = _EMPTY.sub("", content.decode() if isinstance(content, bytes) else content)
    more = f"{_ALWAYS}<IncludeNestedStacks>false</IncludeNestedStacks></DescribeChangeSetResult>"
    return status, headers, text.replace("</DescribeChangeSetResult>", more).encode()


def _create_stack(params: dict[str, Any]) -> Response:
    """Create a stack, without a time of the last update: there has been none."""
    response = _original_create(params)
    if response[0] == 200:
        cloudformation._stacks[handlers._p(params, "StackName")]["LastUpdatedTime"] = ""
    return response


def _describe_stacks(params: dict[str, Any]) -> Response:
    status, headers, content = _original_describe(params)
    text = content.decode() if isinstance(content, bytes) else content
    members = [_described(part) for part in text.split("<member><StackName>")]
    return status, headers, "<member><StackName>".join(members).encode()


def _described(member: str) -> str:
    """Return a stack's part of a DescribeStacks response in AWS's form."""
    match = re.search(r"<StackId>(.*?)</StackId>", member)
    stack = handlers._resolve_stack(match[1]) if match else None
    if stack is None:
        return member
    member = _EMPTY.sub(lambda empty: empty[0] if empty[1] == "Tags" else "", member).replace(_NO_CAPABILITIES, "")
    if _is_deleted(stack):
        member = _PROTECTION.sub("", member)
    deleted = f"<DeletionTime>{stack['DeletionTime']}</DeletionTime>" if "DeletionTime" in stack else ""
    return member.replace("</DisableRollback>", f"</DisableRollback>{_ALWAYS}{deleted}", 1)


_original_add, _original_create, _original_describe = (
    stacks._add_event,
    handlers._create_stack,
    handlers._describe_stacks,
)
for _module in (changesets, handlers, stacks):
    _module._add_event = _add_event
_original_change_set = handlers._describe_change_set
handlers._describe_change_set = handlers._ACTION_HANDLERS["DescribeChangeSet"] = _describe_change_set
_original_events = handlers._describe_stack_events
handlers._describe_stack_events = handlers._ACTION_HANDLERS["DescribeStackEvents"] = _describe_stack_events
handlers._create_stack = handlers._ACTION_HANDLERS["CreateStack"] = _create_stack
handlers._describe_stacks = handlers._ACTION_HANDLERS["DescribeStacks"] = _describe_stacks
