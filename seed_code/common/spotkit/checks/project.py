"""A SageMaker project: what it owns, and what its template allows it besides.

The build and the project's functions read it from the same variables, which templates/project.yaml of the bundle sets.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Project:
    """The names of a project's resources, and what else it may use.

    - `registry`: the account of AWS's framework images, from which any image may be used.
    - `buckets`, `repositories`: names of further buckets, and ARNs of further image repositories.
    - `functions`: ARNs of the functions that Lambda steps may call.
    - `key`: ARN of the only KMS key that may be used; empty for none.
    - `subnets`, `security_groups`: the VPC settings that every job must have; empty for no VPC.
    - `isolated`: whether every job must enable network isolation.
    """

    name: str
    id: str
    bucket: str
    model_group: str
    role: str = ""
    region: str = ""
    registry: str = ""
    buckets: tuple[str, ...] = ()
    repositories: tuple[str, ...] = ()
    functions: tuple[str, ...] = ()
    key: str = ""
    subnets: tuple[str, ...] = ()
    security_groups: tuple[str, ...] = ()
    isolated: bool = False

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Project":
        """Return the project of these variables. Raise KeyError if its name, id, bucket or model group is missing."""

        def listed(variable: str) -> tuple[str, ...]:
            return tuple(part for part in environment.get(variable, "").split(",") if part)

        return cls(
            name=environment["PROJECT_NAME"],
            id=environment["PROJECT_ID"],
            bucket=environment["PROJECT_BUCKET"],
            model_group=environment["PROJECT_MODEL_GROUP"],
            role=environment.get("PIPELINE_ROLE_ARN", ""),
            region=environment.get("AWS_REGION", ""),
            registry=environment.get("PROJECT_IMAGE_ACCOUNT", ""),
            buckets=tuple(arn.rpartition(":")[2] for arn in listed("PROJECT_DATA_BUCKET_ARNS")),
            repositories=listed("PROJECT_IMAGE_REPOSITORY_ARNS"),
            functions=listed("PROJECT_FUNCTION_ARNS"),
            key=environment.get("PROJECT_KMS_KEY_ARN", ""),
            subnets=listed("PROJECT_SUBNET_IDS"),
            security_groups=listed("PROJECT_SECURITY_GROUP_IDS"),
            isolated=environment.get("PROJECT_NETWORK_ISOLATION") == "true",
        )

    @property
    def pipeline(self) -> str:
        """The name of the project's pipeline, which is that of its model group."""
        return self.model_group

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
