"""The project that a function works for, from the environment that templates/project.yaml gives it."""

import os
from dataclasses import dataclass
from typing import Any

STAGES = ("staging", "production")


@dataclass(frozen=True)
class Project:
    """Names of what one SageMaker project owns."""

    name: str
    id: str
    bucket: str
    pipeline: str
    model_group: str

    @classmethod
    def from_environment(cls) -> "Project":
        """Read the variables that every function of the project has. Raises KeyError where one is missing."""
        names = ("NAME", "ID", "BUCKET", "PIPELINE", "MODEL_GROUP")
        return cls(*(os.environ[f"PROJECT_{name}"] for name in names))

    @property
    def tags(self) -> list[dict[str, str]]:
        """The tags by which Studio's project page finds what belongs to the project."""
        return [
            {"Key": "sagemaker:project-name", "Value": self.name},
            {"Key": "sagemaker:project-id", "Value": self.id},
        ]

    def stack_name(self, stage: str) -> str:
        """The CloudFormation stack that holds the endpoint of a stage."""
        return f"sagemaker-{self.id}-{stage}"


def find_stack(cloudformation: Any, name: str) -> dict[str, Any] | None:
    """The stack of this name, or None. An unknown one is a ValidationError that says so."""
    try:
        return cloudformation.describe_stacks(StackName=name)["Stacks"][0]
    except cloudformation.exceptions.ClientError as error:
        details = error.response["Error"]
        if details["Code"] == "ValidationError" and "does not exist" in details["Message"]:
            return None
        raise
