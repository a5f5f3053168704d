"""The CloudFormation stacks of a project's stages."""

from typing import Any

STAGES = ("staging", "production")


def find_stack(cloudformation: Any, name: str) -> dict[str, Any] | None:
    """Return the stack with this name or id, or None: DescribeStacks raises ValidationError for an unknown one."""
    try:
        return cloudformation.describe_stacks(StackName=name)["Stacks"][0]
    except cloudformation.exceptions.ClientError as error:
        details = error.response["Error"]
        if details["Code"] == "ValidationError" and "does not exist" in details["Message"]:
            return None
        raise
