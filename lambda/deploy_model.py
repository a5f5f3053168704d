"""Deploy the newest approved model package to staging, as a CloudFormation stack from the template it was built with.

Invoked when a model package of the project's group becomes Approved.
"""

import json
import os
import time
from operator import itemgetter
from typing import Any
from urllib.parse import urlsplit

import boto3
from aws_lambda_powertools import Logger

from spotkit.checks.project import Project
from stacks import find_stack

STAGE = "staging"
WAIT_SECONDS = 10
# A stack in one of these states cannot be updated. It is deleted, and then created again.
# docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/view-stack-status-codes.html
NEVER_MADE = ("CREATE_FAILED", "DELETE_FAILED", "ROLLBACK_COMPLETE", "ROLLBACK_FAILED")
NOTHING_TO_DO = "No updates are to be performed"

logger = Logger(service="deploy-model")


def handler(event: dict[str, Any], context: Any) -> dict[str, str]:
    project = Project.from_environment(os.environ)
    sagemaker, cloudformation = boto3.client("sagemaker"), boto3.client("cloudformation")
    deadline = time.monotonic() + context.get_remaining_time_in_millis() / 1000 - WAIT_SECONDS
    wait_for_stack(cloudformation, project.stack_name(STAGE), deadline)
    arn = newest_approved(sagemaker, project.model_group)
    if arn is None:
        return {"outcome": "nothing approved", "package": event["detail"]["ModelPackageArn"]}
    # Events come in any order, so deploy what is approved now and not the package that the event names.
    package = sagemaker.describe_model_package(ModelPackageName=arn)
    template, parameters = read_deployment(boto3.client("s3"), project, package)
    remove_failed(cloudformation, project.stack_name(STAGE), deadline)
    answer = deploy(cloudformation, project, arn, template, parameters)
    # Fail, so that the event is delivered again, if another package was approved meanwhile.
    if newest_approved(sagemaker, project.model_group) != arn:
        raise RuntimeError(f"{arn} is no longer the newest approved package; the next delivery deploys the one that is")
    return answer


def wait_for_stack(cloudformation: Any, name: str, deadline: float) -> None:
    """Wait until no operation on the stack is in progress: an approval during a deployment must not be lost.

    Raises TimeoutError after the deadline, before the function itself times out; the event is then delivered again.
    """
    while (stack := find_stack(cloudformation, name)) and stack["StackStatus"].endswith("IN_PROGRESS"):
        if time.monotonic() > deadline:
            raise TimeoutError(f"stack {name} is still {stack['StackStatus']}")
        time.sleep(float(os.environ.get("WAIT_SECONDS", WAIT_SECONDS)))


def remove_failed(cloudformation: Any, name: str, deadline: float) -> None:
    """Delete a stack whose creation or deletion failed. Until now it was kept, because its events say why.

    Raises RuntimeError if it cannot be deleted, TimeoutError if that takes too long.
    """
    stack = find_stack(cloudformation, name)
    if stack is None or stack["StackStatus"] not in NEVER_MADE:
        return
    logger.info("removing a stack that failed", extra={"stack": name, "status": stack["StackStatus"]})
    cloudformation.delete_stack(StackName=name, RoleARN=os.environ["STACK_ROLE_ARN"])
    wait_for_stack(cloudformation, name, deadline)
    if stack := find_stack(cloudformation, name):
        raise RuntimeError(f"stack {name} is {stack['StackStatus']} and could not be removed: see its events.")


def newest_approved(sagemaker: Any, group: str) -> str | None:
    """Return the ARN of the approved package with the highest version, or None."""
    pages = sagemaker.get_paginator("list_model_packages").paginate(
        ModelPackageGroupName=group, ModelApprovalStatus="Approved"
    )
    approved = [package for page in pages for package in page["ModelPackageSummaryList"]]
    return max(approved, key=itemgetter("ModelPackageVersion"))["ModelPackageArn"] if approved else None


def read_deployment(s3: Any, project: Project, package: dict[str, Any]) -> tuple[str, dict[str, str]]:
    """Read the template and the stage's parameters from the S3 URI in the package's metadata.

    Raises ValueError if the URI is missing or outside deploy/ in the project's bucket, or the parameters are not JSON.
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
    try:
        return template, json.loads(parameters)
    except ValueError as error:
        raise ValueError(f"{address.geturl()}/{STAGE}.json is not JSON: {error}. Fix deploy/{STAGE}.json.") from error


def deploy(
    cloudformation: Any, project: Project, package_arn: str, template: str, parameters: dict[str, str]
) -> dict[str, str]:
    """Create or update the stage's stack without waiting for the end; CloudFormation rolls back what fails.

    A stack whose creation fails stays as ROLLBACK_COMPLETE, so that its events can be read.
    """
    ours = {
        "ProjectName": project.name,
        "ProjectId": project.id,
        "Stage": STAGE,
        "ModelPackageArn": package_arn,
        "EndpointRoleArn": os.environ["ENDPOINT_ROLE_ARN"],
    }
    if subnets := os.environ.get("PROJECT_SUBNET_IDS"):  # CloudFormation rejects parameters that a template lacks
        ours |= {"SubnetIds": subnets, "SecurityGroupIds": os.environ["PROJECT_SECURITY_GROUP_IDS"]}
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
            # OnFailure=DELETE would reach no state that the FailedDeploymentRule watches, and delete the reason.
            cloudformation.create_stack(**request, OnFailure="ROLLBACK")
            outcome = "created"
    except cloudformation.exceptions.ClientError as error:
        if NOTHING_TO_DO not in error.response["Error"]["Message"]:
            raise
    logger.info("stack %s", outcome, extra={"stack": name, "package": package_arn})
    return {"outcome": outcome, "stack": name, "package": package_arn}
