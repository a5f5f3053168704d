"""Bring the project's pipeline to its newest good definition, and run it once.

Invoked when a new version of pipeline/pipeline.json is written to the project's bucket. Events come at least once, in any
order and at the same time, and a function may end between any two of its calls. So an event says only that there is
something to do, and nothing that has been read stays true:

- the newest version in the bucket that passes every check decides, whichever version the event was about;
- after the pipeline was changed the bucket is looked at once more: a slow function cannot leave an older state behind;
- a run is started from the pipeline version that was just written, whatever others have written since;
- a run carries the note of its definition, and a token made of it: what has been started is not started again.
"""

import hashlib
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import boto3
from aws_lambda_powertools import Logger
from botocore.config import Config

import checks
from checks.reading import MOST_CHARACTERS
from project import Project

MOST_BYTES = 4 * MOST_CHARACTERS  # as long as UTF-8 can make them
KEY = "pipeline/pipeline.json"  # where a build puts it
MOST_VERSIONS = 25  # how far back a good definition is looked for
UNVERSIONED = "null"  # what S3 calls the version of an object where versioning is suspended
TRIES, WAIT_SECONDS = 5, 2
BUSY = ("ConflictException", "ResourceInUse")

logger = Logger(service="execute-pipeline")


@dataclass(frozen=True)
class DefinitionVersion:
    """One version of the definition in the project's bucket.

    A bucket whose versioning is suspended gives every object the version "null", which the next one replaces. What was
    written and when (`stamp`) tells those apart.
    """

    bucket: str
    key: str
    version: str
    stamp: str = ""

    @classmethod
    def from_event(cls, event: dict[str, Any], project: Project) -> "DefinitionVersion":
        """Read an "Object Created" event: docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html.

        Raises ValueError for an object that is not the definition of this project.
        """
        bucket, key = event["detail"]["bucket"]["name"], event["detail"]["object"]["key"]
        if (bucket, key) != (project.bucket, KEY):
            raise ValueError(
                f"the event is about s3://{bucket}/{key}, and this function runs s3://{project.bucket}/{KEY}."
            )
        # No version-id: docs.aws.amazon.com/AmazonS3/latest/userguide/VersioningWorkflows.html#suspended
        return cls(bucket, key, event["detail"]["object"].get("version-id", UNVERSIONED))

    @property
    def note(self) -> str:
        """What the pipeline and the run say of themselves, by which a repeated event finds its own work."""
        return f"s3://{self.bucket}/{self.key} version {self.version}{self.stamp and f' {self.stamp}'}"


class Refused(ValueError):
    """A definition that must not run."""


def handler(event: dict[str, Any], context: object) -> dict[str, str]:
    # Throttling is waited for; what lasts longer comes back as another delivery.
    config = Config(retries={"mode": "standard", "max_attempts": 8}, connect_timeout=5, read_timeout=20)
    clients = {name: boto3.client(name, config=config) for name in ("s3", "sagemaker", "sns")}
    project = Project.from_environment()
    return execute(clients, project, DefinitionVersion.from_event(event, project))


def execute(clients: dict[str, Any], project: Project, version: DefinitionVersion) -> dict[str, str]:
    """Bring the pipeline to the newest good definition, tell people when this version is not one."""
    definitions = Definitions(clients["s3"], project, version)
    answer = {"outcome": "nothing to run"}
    while found := definitions.newest_good():
        answer = bring(clients["sagemaker"], project, *found, definitions)
        if answer["outcome"] != "overtaken":
            break
    if why := definitions.refusal(version.version):
        tell(clients["sns"], project, version, why)
        answer |= {"refused": why}
    logger.info("pipeline %s", answer["outcome"], extra={"event": version.note, **answer})
    return answer


# --- which definition it is ----------------------------------------------------------------------------------------------


class Definitions:
    """The versions in the bucket, which is looked at anew each time; each of them is read and checked once."""

    def __init__(self, s3: Any, project: Project, event: DefinitionVersion):
        self.s3, self.project, self.event = s3, project, event
        self.good: dict[DefinitionVersion, str] = {}
        self.refused: dict[DefinitionVersion, str] = {}

    def newest_good(self) -> tuple[DefinitionVersion, str] | None:
        """The newest version that passes every check, with its text. Why others do not is left in `refused`."""
        for version in versions(self.s3, self.event):
            if version not in self.good | self.refused:
                self.look_at(version)
            if version in self.good:
                return version, self.good[version]
        return None

    def refusal(self, version_id: str) -> str | None:
        """Why the version of this id was refused, if it was."""
        return next((why for version, why in self.refused.items() if version.version == version_id), None)

    def look_at(self, version: DefinitionVersion) -> None:
        try:
            self.good[version] = read(self.s3, self.project, version)
        except self.s3.exceptions.ClientError as error:
            if error.response["Error"]["Code"] not in ("NoSuchVersion", "NoSuchKey", "404"):
                raise  # one that is gone meanwhile is none
        except Refused as error:
            self.refused[version] = str(error)


def versions(s3: Any, event: DefinitionVersion) -> Iterator[DefinitionVersion]:
    """The versions of the definition, the newest first. None when it was deleted and not written again."""
    listed = s3.list_object_versions(Bucket=event.bucket, Prefix=event.key, MaxKeys=MOST_VERSIONS)
    if any(marker["IsLatest"] and marker["Key"] == event.key for marker in listed.get("DeleteMarkers", [])):
        return
    for version in listed.get("Versions", []):
        if version["Key"] == event.key:
            number = version["VersionId"]
            stamp = (
                f"{version['ETag']} of {version['LastModified']:%Y-%m-%dT%H:%M:%SZ}" if number == UNVERSIONED else ""
            )
            yield DefinitionVersion(event.bucket, event.key, number, stamp)


def read(s3: Any, project: Project, version: DefinitionVersion) -> str:
    """The definition's text. Raises Refused for what is none, or what a project must not run."""
    answered = s3.get_object(Bucket=version.bucket, Key=version.key, VersionId=version.version)
    if answered["ContentLength"] > MOST_BYTES:
        raise Refused(f"{version.note} has {answered['ContentLength']:,} bytes, more than a pipeline takes.")
    content = answered["Body"].read(MOST_BYTES + 1)
    try:
        checks.refuse(checks.read(content), allowed(project))
    except ValueError as error:
        raise Refused(f"{version.note}: {error}") from error
    return content.decode()


def allowed(project: Project) -> checks.Project:
    """Whose things a definition of this project may use: its own, and what its template's parameters add."""

    def named(variable: str) -> tuple[str, ...]:
        return tuple(part for part in os.environ.get(variable, "").split(",") if part)

    return checks.Project(
        name=project.name,
        id=project.id,
        bucket=project.bucket,
        model_group=project.model_group,
        role=os.environ["PIPELINE_ROLE_ARN"],
        region=os.environ["AWS_REGION"],
        registry=os.environ["IMAGE_ACCOUNT"],
        buckets=tuple(arn.rpartition(":")[2] for arn in named("DATA_BUCKET_ARNS")),
        repositories=named("IMAGE_REPOSITORY_ARNS"),
        functions=named("FUNCTION_ARNS"),
        key=os.environ.get("KMS_KEY_ARN", ""),
        subnets=named("SUBNET_IDS"),
        security_groups=named("SECURITY_GROUP_IDS"),
        isolated=os.environ.get("NETWORK_ISOLATION") == "true",
    )


# --- the pipeline --------------------------------------------------------------------------------------------------------


def bring(
    sagemaker: Any, project: Project, version: DefinitionVersion, definition: str, definitions: Definitions
) -> dict[str, str]:
    """Make the pipeline have this definition, and run it once; "overtaken" when there is a newer one by then."""
    current = describe(sagemaker, project.pipeline)
    note = version.note
    if current and json.loads(current["PipelineDefinition"]) == json.loads(definition):
        # The content is there already: if its run is too, there is nothing to do, whatever version it came with.
        note = current.get("PipelineDescription") or note
        if execution := started(sagemaker, project.pipeline, note):
            return {"outcome": "unchanged", "definition": note, "execution": execution}
    elif current is None:
        create(sagemaker, project, note, definition)
    number = update(sagemaker, project, note, definition)
    found = definitions.newest_good()
    if found is None or found[0] != version:
        return {"outcome": "overtaken", "definition": note}
    if execution := started(sagemaker, project.pipeline, note):
        return {"outcome": "restored", "definition": note, "execution": execution}
    execution = sagemaker.start_pipeline_execution(
        PipelineName=project.pipeline,
        PipelineVersionId=number,
        PipelineExecutionDescription=note,
        ClientRequestToken=hashlib.sha256(note.encode()).hexdigest(),
    )["PipelineExecutionArn"]
    return {"outcome": "started", "definition": note, "execution": execution}


def describe(sagemaker: Any, name: str) -> dict[str, Any] | None:
    """The pipeline of exactly this name, or None."""
    try:
        return sagemaker.describe_pipeline(PipelineName=name)
    except sagemaker.exceptions.ResourceNotFound:
        return None


def create(sagemaker: Any, project: Project, note: str, definition: str) -> None:
    """Create the pipeline, unless another function did so this moment."""
    try:
        sagemaker.create_pipeline(
            PipelineName=project.pipeline,
            PipelineDefinition=definition,
            PipelineDescription=note,
            RoleArn=os.environ["PIPELINE_ROLE_ARN"],
            ClientRequestToken=hashlib.sha256(note.encode()).hexdigest(),
            Tags=project.tags,
        )
    except sagemaker.exceptions.ClientError as error:
        # AWS says one or the other of a name that is taken; the update that follows says whether it was that.
        if error.response["Error"]["Code"] not in ("ResourceInUse", "ValidationException"):
            raise
        if "exist" not in error.response["Error"]["Message"].lower():
            raise


def update(sagemaker: Any, project: Project, note: str, definition: str) -> int:
    """Write the definition as a new version of the pipeline, and answer its number."""
    for left in reversed(range(TRIES)):
        try:
            return sagemaker.update_pipeline(
                PipelineName=project.pipeline,
                PipelineDefinition=definition,
                PipelineDescription=note,
                RoleArn=os.environ["PIPELINE_ROLE_ARN"],
            )["PipelineVersionId"]
        except sagemaker.exceptions.ClientError as error:
            if error.response["Error"]["Code"] not in BUSY or not left:
                raise
            time.sleep(float(os.environ.get("WAIT_SECONDS", WAIT_SECONDS)))  # another update is under way
    raise AssertionError("unreachable")


def started(sagemaker: Any, pipeline: str, note: str) -> str | None:
    """The run that a definition was started as, if it was. Tokens are forgotten after a while; runs are not."""
    pages = sagemaker.get_paginator("list_pipeline_executions").paginate(
        PipelineName=pipeline, PaginationConfig={"MaxItems": 300}
    )
    for page in pages:
        for execution in page["PipelineExecutionSummaries"]:
            if execution.get("PipelineExecutionDescription") == note:
                return execution["PipelineExecutionArn"]
    return None


def tell(sns: Any, project: Project, version: DefinitionVersion, why: str) -> None:
    """Tell people of a definition that was refused: it will not get better by another delivery."""
    sns.publish(
        TopicArn=os.environ["NOTICES_TOPIC_ARN"],
        Subject=f"{project.name}: the pipeline definition was refused"[:100],
        Message=f"{why}\n\nThe pipeline stays as it was. Mend what is named, and push.\nLog: /aws/lambda/{os.environ['AWS_LAMBDA_FUNCTION_NAME']}",
    )
