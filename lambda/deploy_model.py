"""Deploy an approved model package: one CloudFormation stack a stage, from the template the package was built with.

Invoked when a model package of the project's group becomes Approved.
"""

import json
import os
from typing import Any
from urllib.parse import urlsplit

import boto3
from aws_lambda_powertools import Logger

from project import Project, find_stack

STAGE = "staging"
NOTHING_TO_DO = "No updates are to be performed"

logger = Logger(service="deploy-model")


def handler(event: dict[str, Any], context: object) -> dict[str, str]:
    project = Project.from_environment()
    package = boto3.client("sagemaker").describe_model_package(ModelPackageName=event["detail"]["ModelPackageArn"])
    if package["ModelApprovalStatus"] != "Approved":
        logger.info("no longer approved", extra={"package": package["ModelPackageArn"]})
        return {"outcome": "no longer approved", "package": package["ModelPackageArn"]}
    template, parameters = read_deployment(boto3.client("s3"), project, package)
    return deploy(boto3.client("cloudformation"), project, package["ModelPackageArn"], template, parameters)


def read_deployment(s3: Any, project: Project, package: dict[str, Any]) -> tuple[str, dict[str, str]]:
    """The template and the stage's parameters from the address that the package carries.

    Raises ValueError when the package has no address, or one outside the project's bucket.
    """
    address = urlsplit(package.get("CustomerMetadataProperties", {}).get("Deployment", ""))
    prefix = address.path.strip("/")
    if address.scheme != "s3" or address.netloc != project.bucket or not prefix.startswith("deploy/"):
        raise ValueError(
            f"{package['ModelPackageArn']}: its metadata Deployment is {address.geturl()!r}, "
            f"not s3://{project.bucket}/deploy/<hash>. Register it by the project's pipeline."
        )
    template, parameters = (
        s3.get_object(Bucket=project.bucket, Key=f"{prefix}/{name}")["Body"].read().decode()
        for name in ("endpoint.yaml", f"{STAGE}.json")
    )
    return template, json.loads(parameters)


def deploy(
    cloudformation: Any, project: Project, package_arn: str, template: str, parameters: dict[str, str]
) -> dict[str, str]:
    """Create the stage's stack, or update it; CloudFormation does the rest and rolls back what fails."""
    ours = {
        "ProjectName": project.name,
        "ProjectId": project.id,
        "Stage": STAGE,
        "ModelPackageArn": package_arn,
        "EndpointRoleArn": os.environ["ENDPOINT_ROLE_ARN"],
    }
    name = project.stack_name(STAGE)
    request = {
        "StackName": name,
        "TemplateBody": template,
        "Parameters": [{"ParameterKey": k, "ParameterValue": v} for k, v in sorted({**parameters, **ours}.items())],
        "RoleARN": os.environ["STACK_ROLE_ARN"],
        "Tags": project.tags,
    }
    outcome = "unchanged"
    try:
        if find_stack(cloudformation, name):
            cloudformation.update_stack(**request)
            outcome = "updated"
        else:
            cloudformation.create_stack(**request, OnFailure="DELETE")
            outcome = "created"
    except cloudformation.exceptions.ClientError as error:
        if NOTHING_TO_DO not in error.response["Error"]["Message"]:
            raise
    logger.info("stack %s", outcome, extra={"stack": name, "package": package_arn})
    return {"outcome": outcome, "stack": name, "package": package_arn}
