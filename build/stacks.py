"""Describe CloudFormation stacks, wait for them and delete them."""

import time
from typing import Any

import botocore.exceptions
import yaml

from build.account import Account
from build.template import Loader

STACK = "sagemaker-project-templates"  # the portfolio's stack
MAX_WAIT_SECONDS = 1800


def describe_stack(account: Account, name: str) -> dict[str, Any] | None:
    """Return a stack by its name or ARN, or None if it does not exist."""
    try:
        return account.cloudformation.describe_stacks(StackName=name)["Stacks"][0]
    except botocore.exceptions.ClientError as error:
        if "does not exist" in error.response["Error"]["Message"]:
            return None
        raise


def parameters_of(stack: dict[str, Any] | None) -> dict[str, str]:
    """Return the parameters of a stack, including those with default values."""
    return {entry["ParameterKey"]: entry["ParameterValue"] for entry in (stack or {}).get("Parameters", [])}


def outputs_of(stack: dict[str, Any] | None) -> dict[str, str]:
    return {output["OutputKey"]: output["OutputValue"] for output in (stack or {}).get("Outputs", [])}


def template_text(account: Account, name: str) -> str:
    """Return the template of a stack as it was submitted, before transforms."""
    return account.cloudformation.get_template(StackName=name, TemplateStage="Original")["TemplateBody"]


def read_template(text: str | bytes) -> dict[str, Any]:
    return yaml.load(text, Loader)  # noqa: S506  (a SafeLoader)


def wait_for_stack(account: Account, name: str) -> dict[str, Any]:
    """Wait until no operation on a stack is in progress; return the stack. Raise TimeoutError after half an hour.

    A stack that does not exist is returned with the status DELETE_COMPLETE.
    """
    deadline = time.monotonic() + MAX_WAIT_SECONDS
    while (stack := describe_stack(account, name)) and stack["StackStatus"].endswith("IN_PROGRESS"):
        if time.monotonic() > deadline:
            raise TimeoutError(f"stack {name} is still {stack['StackStatus']}. Run the same command again later.")
        time.sleep(account.wait_seconds)
    return stack or {"StackName": name, "StackStatus": "DELETE_COMPLETE"}


def require(account: Account, stack: dict[str, Any], status: str) -> None:
    """Raise ValueError with the first failure of a stack if its status is not `status`."""
    if stack["StackStatus"] == status:
        return
    events = account.cloudformation.describe_stack_events(StackName=stack["StackName"])["StackEvents"]
    # Events are listed newest first: the last of the failed ones is the cause, the others follow from it.
    failed = [event for event in events if event["ResourceStatus"].endswith("FAILED")]
    first = failed[-1] if failed else {"LogicalResourceId": "?", "ResourceStatusReason": "see its events"}
    raise ValueError(
        f"stack {stack['StackName']} ended as {stack['StackStatus']}: "
        f"{first['LogicalResourceId']}: {first.get('ResourceStatusReason', '')}. Fix that and run the same command again."
    )


def delete_stack(account: Account, name: str) -> None:
    """Delete a stack and wait for it. Raise ValueError if that fails."""
    wait_for_stack(account, name)
    stack_id = describe_stack(account, name)["StackId"]
    account.cloudformation.delete_stack(StackName=name)
    require(account, wait_for_stack(account, stack_id), "DELETE_COMPLETE")
