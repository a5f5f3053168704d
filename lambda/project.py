"""The SageMaker project of a Lambda function, read from the environment that templates/project.yaml sets."""

import os
from dataclasses import dataclass
from typing import Any

STAGES = ("staging", "production")


@dataclass(frozen=True)
class Project:
    """Names of the resources that one SageMaker project owns."""

    name: str
    id: str
    bucket: str
    pipeline: str
    model_group: str

    @classmethod
    def from_environment(cls) -> "Project":
        """Read the variables that every function of the project has. Raises KeyError if one is missing."""
        names = ("NAME", "ID", "BUCKET", "PIPELINE", "MODEL_GROUP")
        return cls(*(os.environ[f"PROJECT_{name}"] for name in names))

    @property
    def tags(self) -> list[dict[str, str]]:
        """The tags by which Studio's project page finds the project's resources."""
        return [
            {"Key": "sagemaker:project-name", "Value": self.name},
            {"Key": "sagemaker:project-id", "Value": self.id},
        ]

    def stack_name(self, stage: str) -> str:
        """Return the name of the CloudFormation stack with a stage's endpoint."""
        return f"sagemaker-{self.id}-{stage}"


def find_stack(cloudformation: Any, name: str) -> dict[str, Any] | None:
    """Return the stack with this name or id, or None: DescribeStacks raises ValidationError for an unknown one."""
    try:
        return cloudformation.describe_stacks(StackName=name)["Stacks"][0]
    except cloudformation.exceptions.ClientError as error:
        details = error.response["Error"]
        if details["Code"] == "ValidationError" and "does not exist" in details["Message"]:
            return None
        raise
