"""Where a project's files are in S3, and what its jobs run in: their image, network, disk and tags."""

from functools import cache
from typing import Any

import spotkit.definition.sdk  # noqa: F401  first: it prepares the SDK to work offline

# isort: split
from sagemaker.core import image_uris
from sagemaker.core.workflow.execution_variables import ExecutionVariables
from sagemaker.core.workflow.functions import Join

from spotkit.checks import Project
from spotkit.checks.rules import NVME
from spotkit.definition import bundle

# The variables of an example account's project, for those that are unset, as on a laptop.
EXAMPLE = {
    "PROJECT_NAME": "example",
    "PROJECT_ID": "p-example",
    "PROJECT_BUCKET": "sagemaker-p-example-111122223333",
    "PROJECT_MODEL_GROUP": "example-p-example",
    "PIPELINE_ROLE_ARN": "arn:aws:iam::111122223333:role/sagemaker-p-example-pipeline",
    "AWS_REGION": "us-east-1",
}


def address(project: Project, content: bundle.Bundle | bundle.Archive | bundle.Packages) -> str:
    """Return the S3 address to which the build uploads a bundle."""
    return f"s3://{project.bucket}/{content.prefix}"


def run_address(project: Project, *names: Any) -> Join:
    """Return an S3 address below this execution's own prefix: no execution overwrites another's results."""
    return Join("/", [f"s3://{project.bucket}/runs", ExecutionVariables.PIPELINE_EXECUTION_ID, *names])


def job_tags(project: Project, step: str) -> dict[str, str]:
    """Return the tags of a step's jobs, which do not inherit the pipeline's. Studio and the bill use them."""
    return {tag["Key"]: tag["Value"] for tag in project.tags} | {"Step": step}


def disk_key(project: Project, instance_type: str) -> str | None:
    """Return the KMS key for a job's volume; None without a key, or if the instance type does not accept one."""
    return project.key if project.key and not NVME.match(instance_type) else None


def network(project: Project) -> dict[str, Any]:
    """VPC and isolation of jobs, as the SDK's Networking and NetworkConfig both take them; empty without either."""
    vpc = {"subnets": [*project.subnets], "security_group_ids": [*project.security_groups]} if project.subnets else {}
    return vpc | ({"enable_network_isolation": True} if project.isolated else {})


def pip_variables(project: Project, folder: str) -> dict[str, str]:
    """Return variables that make pip use `folder` as its only source; empty if jobs have internet access."""
    return {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": folder} if network(project) else {}


def training_image(project: Project) -> str:
    """Image of every job: what preprocesses and evaluates is what trains."""
    return image(project.region, "training", "ml.g4dn.xlarge", version="5.3.0", base_framework_version="pytorch2.9.0")


def inference_image(project: Project) -> str:
    return image(project.region, "inference", "ml.m5.xlarge", version="5.5.3", base_framework_version="pytorch2.6.0")


@cache
def image(region: str, scope: str, instance_type: str, **versions: str) -> str:
    """Return the URI of a Hugging Face Deep Learning Container of AWS, from the tables in the SDK."""
    return image_uris.retrieve(
        "huggingface", region, image_scope=scope, instance_type=instance_type, py_version="py312", **versions
    )
