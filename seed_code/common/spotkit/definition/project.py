"""The project that a definition is for: its names, its roles, its network, and where its files are in S3."""

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import spotkit.definition.sdk  # noqa: F401  first: it prepares the SDK to work offline

# isort: split
from sagemaker.core import image_uris
from sagemaker.core.workflow.execution_variables import ExecutionVariables
from sagemaker.core.workflow.functions import Join

from spotkit.checks.rules import NVME
from spotkit.definition import bundle


@dataclass(frozen=True)
class Project:
    """What is fixed when the pipeline is built, and cannot be changed when it is started."""

    name: str
    id: str
    bucket: str
    model_group: str
    role: str
    region: str
    data_buckets: tuple[str, ...] = ()
    kms_key: str = ""
    subnets: tuple[str, ...] = ()
    security_groups: tuple[str, ...] = ()
    isolated: bool = False

    @classmethod
    def from_environment(cls, environment: dict[str, str]) -> "Project":
        """Return the project of the build's variables; an example account's where they are unset, as on a laptop."""
        return cls(
            name=environment.get("PROJECT_NAME", "example"),
            id=environment.get("PROJECT_ID", "p-example"),
            bucket=environment.get("PROJECT_BUCKET", "sagemaker-p-example-111122223333"),
            model_group=environment.get("PROJECT_MODEL_GROUP", "example-p-example"),
            role=environment.get("PIPELINE_ROLE_ARN", "arn:aws:iam::111122223333:role/sagemaker-p-example-pipeline"),
            region=environment.get("AWS_REGION", "us-east-1"),
            kms_key=environment.get("PROJECT_KMS_KEY_ARN", ""),
            data_buckets=tuple(re.findall(r":::([^,]+)", environment.get("PROJECT_DATA_BUCKET_ARNS", ""))),
            subnets=tuple(re.findall(r"[^,]+", environment.get("PROJECT_SUBNET_IDS", ""))),
            security_groups=tuple(re.findall(r"[^,]+", environment.get("PROJECT_SECURITY_GROUP_IDS", ""))),
            isolated=environment.get("PROJECT_NETWORK_ISOLATION") == "true",
        )

    def address(self, content: bundle.Bundle | bundle.Archive | bundle.Packages) -> str:
        """Return the S3 address to which the build uploads a bundle."""
        return f"s3://{self.bucket}/{content.prefix}"

    def run(self, *names: Any) -> Join:
        """Return an S3 address below this execution's own prefix: no execution overwrites another's results."""
        return Join("/", [f"s3://{self.bucket}/runs", ExecutionVariables.PIPELINE_EXECUTION_ID, *names])

    def tags(self, step: str) -> dict[str, str]:
        """Return the tags of a step's jobs, which do not inherit the pipeline's. Studio and the bill use them."""
        return {"sagemaker:project-name": self.name, "sagemaker:project-id": self.id, "Step": step}

    def disk_key(self, instance_type: str) -> str | None:
        """Return the KMS key for a job's volume; None without a key, or if the instance type does not accept one."""
        return self.kms_key if self.kms_key and not NVME.match(instance_type) else None

    @property
    def network(self) -> dict[str, Any]:
        """VPC and isolation of jobs, as the SDK's Networking and NetworkConfig both take them; empty without either."""
        vpc = {"subnets": [*self.subnets], "security_group_ids": [*self.security_groups]} if self.subnets else {}
        return vpc | ({"enable_network_isolation": True} if self.isolated else {})

    def pip_variables(self, folder: str) -> dict[str, str]:
        """Return variables that make pip use `folder` as its only source; empty if jobs have internet access."""
        return {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": folder} if self.network else {}

    @cached_property
    def training_image(self) -> str:
        """Image of every job: what preprocesses and evaluates is what trains."""
        return self.image("training", "ml.g4dn.xlarge", version="5.3.0", base_framework_version="pytorch2.9.0")

    @cached_property
    def inference_image(self) -> str:
        return self.image("inference", "ml.m5.xlarge", version="5.5.3", base_framework_version="pytorch2.6.0")

    def image(self, scope: str, instance_type: str, **versions: str) -> str:
        """Return the URI of a Hugging Face Deep Learning Container of AWS, from the tables in the SDK."""
        return image_uris.retrieve(
            "huggingface", self.region, image_scope=scope, instance_type=instance_type, py_version="py312", **versions
        )
