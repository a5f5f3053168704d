"""Start a project's first build, and delete what the project created when its stack is deleted.

A CloudFormation custom resource. It always responds to Create, Update and Delete: without a response, CloudFormation
waits for an hour (docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/crpg-ref-responses.html).
"""

import json
import os
import time
import urllib.request
from typing import Any
from urllib.parse import urlsplit

import boto3
from aws_lambda_powertools import Logger

from spotkit.checks.project import Project
from stacks import STAGES, find_stack

WAIT_SECONDS = 5
MARGIN_SECONDS = 30  # time to respond before the function itself times out
NEEDED = ("LogicalResourceId", "RequestId", "RequestType", "ResourceProperties", "ResponseURL", "StackId")
NEVER_MADE = "lifecycle-never-made"  # physical id of a failed creation, which its Delete event repeats

logger = Logger(service="project-lifecycle")


def handler(event: dict[str, Any], context: Any) -> None:
    deadline = time.monotonic() + context.get_remaining_time_in_millis() / 1000 - MARGIN_SECONDS
    require_of_cloudformation(event)
    status, reason = "SUCCESS", ""
    try:
        act(event, deadline)
    except Exception as error:  # CloudFormation needs a response, whatever failed
        logger.exception("failed")
        status, reason = "FAILED", f"{type(error).__name__}: {error}"
    answer(event, status, reason)


def require_of_cloudformation(event: dict[str, Any]) -> None:
    """Raise ValueError if the event is incomplete, from another stack, or asks for a response to a host outside AWS."""
    if missing := [name for name in NEEDED if name not in event]:
        raise ValueError(f"the event lacks {', '.join(missing)}. Only CloudFormation invokes this function.")
    if event["StackId"] != os.environ["STACK_ID"]:
        raise ValueError(f"the event is of stack {event['StackId']}, and this function of {os.environ['STACK_ID']}.")
    if not is_of_aws(event["ResponseURL"]):
        host = urlsplit(event["ResponseURL"]).hostname
        raise ValueError(f"the answer would go to {host}, which is not AWS's by https. Nothing was done.")


def is_of_aws(address: str) -> bool:
    """Return whether a URL is an HTTPS URL of AWS, or has the scheme and host of AWS_ENDPOINT_URL."""
    parts, endpoint = urlsplit(address), urlsplit(os.environ.get("AWS_ENDPOINT_URL", ""))
    if endpoint.netloc and (parts.scheme, parts.netloc) == (endpoint.scheme, endpoint.netloc):
        return True
    return parts.scheme == "https" and (parts.hostname or "").endswith(f".{os.environ['URL_SUFFIX']}")


def act(event: dict[str, Any], deadline: float) -> None:
    """Handle a Create, Update or Delete request. An update changes nothing: the repository is the team's.

    Raises ValueError for an unknown request type or another project's build.
    """
    project = Project.from_environment(os.environ)
    build = event["ResourceProperties"].get("BuildProject")
    if build != f"sagemaker-{project.id}-build":
        raise ValueError(f"BuildProject is {build!r}, not sagemaker-{project.id}-build, the project's own.")
    match event["RequestType"]:
        case "Create":
            start_build(boto3.client("codebuild"), build, event["RequestId"], deadline)
        case "Update":
            pass
        case "Delete":
            clean_up(project, build, deadline, stays(event))
        case unknown:
            raise ValueError(f"the request type is {unknown!r}, and not Create, Update or Delete.")


def stays(event: dict[str, Any]) -> bool:
    """Return whether to keep the bucket and the model group: RetainData is true, and no failed creation is rolled back.

    In a rollback the template's RetainExceptOnCreate deletes both. CloudFormation also sends a Delete for a custom
    resource whose creation failed
    (docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/crpg-ref-requesttypes-delete.html).
    """
    if event["ResourceProperties"].get("RetainData") != "true" or event.get("PhysicalResourceId") == NEVER_MADE:
        return False
    stack = find_stack(boto3.client("cloudformation"), event["StackId"])
    return stack is None or not stack["StackStatus"].startswith("ROLLBACK")


def start_build(codebuild: Any, project: str, token: str, deadline: float) -> None:
    """Start the first build, retrying for up to a minute while AWS still denies access to the new role."""
    patience = min(deadline, time.monotonic() + 60)
    while True:
        try:
            codebuild.start_build(projectName=project, idempotencyToken=token)
            return
        except codebuild.exceptions.ClientError as error:
            if error.response["Error"]["Code"] != "AccessDeniedException":
                raise
        wait(patience, f"permission to start {project}")


def clean_up(project: Project, build: str, deadline: float, retain: bool) -> None:
    """Delete what the project created, in an order that AWS allows, and skip what is already gone.

    With `retain`, keep the bucket and the model group.
    """
    sagemaker = boto3.client("sagemaker")
    stop_builds(boto3.client("codebuild"), build, deadline)
    stop_executions(sagemaker, project.pipeline, deadline)
    delete_pipeline(sagemaker, project.pipeline)
    delete_stacks(boto3.client("cloudformation"), project, deadline)
    if retain:
        tell(boto3.client("sns"), project)
    else:
        delete_model_group(sagemaker, project.model_group)
        delete_bucket(boto3.client("s3"), project.bucket, deadline)
    # A definition uploaded just before its build was stopped may have created the pipeline again.
    stop_executions(sagemaker, project.pipeline, deadline)
    delete_pipeline(sagemaker, project.pipeline)


def tell(sns: Any, project: Project) -> None:
    """Notify people of what is kept, and where it is."""
    where = f"s3://{project.bucket}, and the models in the model package group {project.model_group}"
    logger.info("retained", extra={"bucket": project.bucket, "model_group": project.model_group})
    sns.publish(
        TopicArn=os.environ["NOTICES_TOPIC_ARN"],
        Subject=f"{project.name} is deleted, its data stays"[:100],
        Message=f"The project was deleted with RetainData=true. There still is {where}. Nobody else will delete them.",
    )


def stop_builds(codebuild: Any, project: str, deadline: float) -> None:
    """Stop all running builds and wait for their end: they would upload into the emptied bucket and start a run."""

    def running() -> list[str]:
        ids = codebuild.list_builds_for_project(projectName=project)["ids"]
        builds = codebuild.batch_get_builds(ids=ids)["builds"] if ids else []
        return [build["id"] for build in builds if build["buildStatus"] == "IN_PROGRESS"]

    for build in running():
        codebuild.stop_build(id=build)
    while running():
        wait(deadline, f"builds of {project} to stop")


def stop_executions(sagemaker: Any, pipeline: str, deadline: float) -> None:
    """Stop all running executions and wait for their end: DeletePipeline fails while one runs."""

    def with_status(*statuses: str) -> list[str]:
        pages = sagemaker.get_paginator("list_pipeline_executions").paginate(PipelineName=pipeline)
        found = [execution for page in pages for execution in page["PipelineExecutionSummaries"]]
        return [e["PipelineExecutionArn"] for e in found if e["PipelineExecutionStatus"] in statuses]

    try:
        executions = with_status("Executing")
    except sagemaker.exceptions.ResourceNotFound:
        return
    for execution in executions:
        try:
            # ClientRequestToken needs at least 32 characters.
            sagemaker.stop_pipeline_execution(PipelineExecutionArn=execution, ClientRequestToken=execution[-12:] * 3)
        except sagemaker.exceptions.ClientError:
            # "Only pipelines with 'Executing' status can be stopped": this one may have ended since it was listed.
            if execution in with_status("Executing"):
                raise
    while with_status("Executing", "Stopping"):
        wait(deadline, f"executions of {pipeline} to stop")


def delete_pipeline(sagemaker: Any, pipeline: str) -> None:
    """Delete the pipeline if it exists."""
    try:
        sagemaker.delete_pipeline(PipelineName=pipeline, ClientRequestToken=f"delete-{pipeline}".ljust(32, "-"))
    except sagemaker.exceptions.ResourceNotFound:
        logger.info("no pipeline to delete")


def delete_stacks(cloudformation: Any, project: Project, deadline: float) -> None:
    """Delete the stacks of the endpoints and wait until they are gone. Raises RuntimeError if one cannot be deleted."""

    names = [project.stack_name(stage) for stage in STAGES]

    def remaining() -> list[dict[str, Any]]:
        return [stack for name in names if (stack := find_stack(cloudformation, name))]

    asked: set[str] = set()
    while stacks := remaining():
        for stack in stacks:
            if stack["StackStatus"].endswith("DELETE_FAILED") and stack["StackId"] in asked:
                raise RuntimeError(f"stack {stack['StackName']} could not be deleted: see its events.")
            # CloudFormation cannot delete a stack during an operation, nor SageMaker an endpoint that is being created.
            if stack["StackId"] not in asked and not stack["StackStatus"].endswith("IN_PROGRESS"):
                cloudformation.delete_stack(StackName=stack["StackName"], RoleARN=os.environ["STACK_ROLE_ARN"])
                asked.add(stack["StackId"])
        wait(deadline, f"stacks {', '.join(stack['StackName'] for stack in stacks)} to go")


def delete_model_group(sagemaker: Any, group: str) -> None:
    """Delete the model package group, if it exists, after its packages: AWS does not delete a group that has any."""
    try:
        pages = sagemaker.get_paginator("list_model_packages").paginate(ModelPackageGroupName=group)
        for arn in [package["ModelPackageArn"] for page in pages for package in page["ModelPackageSummaryList"]]:
            sagemaker.delete_model_package(ModelPackageName=arn)
        sagemaker.delete_model_package_group(ModelPackageGroupName=group)
    except sagemaker.exceptions.ClientError as error:
        details = error.response["Error"]
        if details["Code"] != "ValidationException" or "does not exist" not in details["Message"]:
            raise
        logger.info("no model group to delete")


def delete_bucket(s3: Any, bucket: str, deadline: float) -> None:
    """Empty the bucket, if it exists, and delete it.

    Jobs and builds that were just stopped may still write to the bucket, so it is emptied until it can be deleted.
    """
    while True:
        try:
            empty(s3, bucket)
            s3.delete_bucket(Bucket=bucket)
            return
        except s3.exceptions.NoSuchBucket:
            logger.info("no bucket to delete")
            return
        except s3.exceptions.ClientError as error:
            if error.response["Error"]["Code"] != "BucketNotEmpty":
                raise
        wait(deadline, f"{bucket} to be empty")


def empty(s3: Any, bucket: str) -> None:
    """Delete every version and delete marker in a bucket, up to 1000 a call. Raises RuntimeError if one stays."""
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
        objects = [
            {"Key": version["Key"], "VersionId": version["VersionId"]}
            for version in page.get("Versions", []) + page.get("DeleteMarkers", [])
        ]
        if objects:
            answered = s3.delete_objects(Bucket=bucket, Delete={"Objects": objects, "Quiet": True})
            if answered.get("Errors"):
                first = answered["Errors"][0]
                raise RuntimeError(f"{bucket}/{first['Key']} could not be deleted: {first['Code']} {first['Message']}")


def wait(deadline: float, what: str) -> None:
    """Sleep before the next poll. Raises TimeoutError if the deadline would pass meanwhile."""
    if time.monotonic() + WAIT_SECONDS > deadline:
        raise TimeoutError(f"gave up waiting for {what}. Try again: what is done stays done.")
    time.sleep(float(os.environ.get("WAIT_SECONDS", WAIT_SECONDS)))


def answer(event: dict[str, Any], status: str, reason: str) -> None:
    """Send the response to CloudFormation's pre-signed URL."""
    made = f"lifecycle-{event['LogicalResourceId']}"
    body = json.dumps(
        {
            "Status": status,
            "Reason": reason[:1000] or "see the function's log group",
            "PhysicalResourceId": event.get("PhysicalResourceId", made if status == "SUCCESS" else NEVER_MADE),
            "StackId": event["StackId"],
            "RequestId": event["RequestId"],
            "LogicalResourceId": event["LogicalResourceId"],
        }
    ).encode()
    # The URL is signed for an empty Content-Type; urllib would add one.
    request = urllib.request.Request(event["ResponseURL"], data=body, method="PUT", headers={"Content-Type": ""})
    with urllib.request.urlopen(request, timeout=30) as response:
        logger.info("answered %s with %s", status, response.status)
