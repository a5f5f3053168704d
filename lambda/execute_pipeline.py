"""Update the project's pipeline to the newest definition that passes every check, and run it once.

Invoked when a new version of pipeline/pipeline.json is written to the project's bucket. Events are delivered at least
once, in any order and concurrently, and a function may be killed between any two of its calls. So an event only says
that there is something to do, and whatever was read may be out of date:

- The newest version in the bucket that passes every check is used, whichever version the event names.
- After an update of the pipeline the bucket is listed again, so that a slow function cannot leave an older state.
- An execution starts from the pipeline version that was just written, whatever other functions have written since.
- An execution has the note of its definition as its description and a token made from it, so that no definition is
  started twice.
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

from spotkit import checks
from spotkit.checks.project import Project
from spotkit.checks.reading import MAX_CHARACTERS

MAX_BYTES = 4 * MAX_CHARACTERS  # UTF-8 has at most 4 bytes a character
KEY = "pipeline/pipeline.json"  # where the build uploads it
MAX_VERSIONS = 25  # how many of the newest versions to check
UNVERSIONED = "null"  # S3's version id of an object written while versioning is suspended
TRIES, WAIT_SECONDS = 5, 2
BUSY = ("ConflictException", "ResourceInUse")

logger = Logger(service="execute-pipeline")


@dataclass(frozen=True)
class DefinitionVersion:
    """One version of the definition in the project's bucket.

    While versioning is suspended, S3 gives every object the version id "null" and replaces it with the next one.
    `stamp` (ETag and time) distinguishes those.
    """

    bucket: str
    key: str
    version: str
    stamp: str = ""

    @classmethod
    def from_event(cls, event: dict[str, Any], project: Project) -> "DefinitionVersion":
        """Read an "Object Created" event: docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html.

        Raises ValueError if the object is not this project's definition.
        """
        bucket, key = event["detail"]["bucket"]["name"], event["detail"]["object"]["key"]
        if (bucket, key) != (project.bucket, KEY):
            raise ValueError(
                f"the event is about s3://{bucket}/{key}, and this function runs s3://{project.bucket}/{KEY}."
            )
        # The event has no version-id while versioning is suspended:
        # docs.aws.amazon.com/AmazonS3/latest/userguide/VersioningWorkflows.html#suspended
        return cls(bucket, key, event["detail"]["object"].get("version-id", UNVERSIONED))

    @property
    def note(self) -> str:
        """Description of the pipeline and its execution, by which a repeated event finds what was already done."""
        return f"s3://{self.bucket}/{self.key} version {self.version}{self.stamp and f' {self.stamp}'}"


class Refused(ValueError):
    """A definition that must not run."""


def handler(event: dict[str, Any], context: object) -> dict[str, str]:
    # botocore retries throttled calls; if that does not help, the event is delivered again.
    config = Config(retries={"mode": "standard", "max_attempts": 8}, connect_timeout=5, read_timeout=20)
    clients = {name: boto3.client(name, config=config) for name in ("s3", "sagemaker", "sns")}
    project = Project.from_environment(os.environ)
    return execute(clients, project, DefinitionVersion.from_event(event, project))


def execute(clients: dict[str, Any], project: Project, version: DefinitionVersion) -> dict[str, str]:
    """Update the pipeline to the newest good definition; notify people if the event's version was refused."""
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


# --- choosing the definition ------------------------------------------------------------------------------------------


class Definitions:
    """The definition's versions in the bucket. Each call lists them again, but reads and checks each version once."""

    def __init__(self, s3: Any, project: Project, event: DefinitionVersion):
        self.s3, self.project, self.event = s3, project, event
        self.good: dict[DefinitionVersion, str] = {}
        self.refused: dict[DefinitionVersion, str] = {}

    def newest_good(self) -> tuple[DefinitionVersion, str] | None:
        """Return the newest version that passes every check, and its text; None if there is none.

        The reasons against newer versions are kept in `refused`.
        """
        for version in versions(self.s3, self.event):
            if version not in self.good | self.refused:
                self.look_at(version)
            if version in self.good:
                return version, self.good[version]
        return None

    def refusal(self, version_id: str) -> str | None:
        """Return why the version with this id was refused, or None."""
        return next((why for version, why in self.refused.items() if version.version == version_id), None)

    def look_at(self, version: DefinitionVersion) -> None:
        try:
            self.good[version] = read(self.s3, self.project, version)
        except self.s3.exceptions.ClientError as error:
            if error.response["Error"]["Code"] not in ("NoSuchVersion", "NoSuchKey", "404"):
                raise  # a version deleted since it was listed is skipped
        except Refused as error:
            self.refused[version] = str(error)


def versions(s3: Any, event: DefinitionVersion) -> Iterator[DefinitionVersion]:
    """Yield the versions of the definition, newest first; nothing if the newest is a delete marker."""
    listed = s3.list_object_versions(Bucket=event.bucket, Prefix=event.key, MaxKeys=MAX_VERSIONS)
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
    """Read and check a version and return its text. Raises Refused if the project must not run it."""
    answered = s3.get_object(Bucket=version.bucket, Key=version.key, VersionId=version.version)
    if answered["ContentLength"] > MAX_BYTES:
        raise Refused(f"{version.note} has {answered['ContentLength']:,} bytes, more than a pipeline takes.")
    content = answered["Body"].read(MAX_BYTES + 1)
    try:
        checks.refuse(checks.read(content), project)
    except ValueError as error:
        raise Refused(f"{version.note}: {error}") from error
    return content.decode()


# --- the pipeline -----------------------------------------------------------------------------------------------------


def bring(
    sagemaker: Any, project: Project, version: DefinitionVersion, definition: str, definitions: Definitions
) -> dict[str, str]:
    """Create or update the pipeline with this definition and start an execution, unless it already has one.

    Outcomes: "started"; "unchanged" if the pipeline and its execution were there; "restored" if only the execution was;
    "overtaken" if after the update this version is no longer the newest good one.
    """
    current = describe(sagemaker, project.pipeline)
    note = version.note
    if current and json.loads(current["PipelineDefinition"]) == json.loads(definition):
        # The pipeline has this content already, perhaps from another version of the object: then that version's note
        # counts, and if it has an execution, there is nothing to do.
        note = current.get("PipelineDescription") or note
        if execution := started(sagemaker, project.pipeline, note):
            return {"outcome": "unchanged", "definition": note, "execution": execution}
    elif current is None:
        create(sagemaker, project, note, definition)
    # Also after a creation: only UpdatePipeline returns the number of the pipeline version.
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
    """Return the description of a pipeline, or None if there is no pipeline of this name."""
    try:
        return sagemaker.describe_pipeline(PipelineName=name)
    except sagemaker.exceptions.ResourceNotFound:
        return None


def create(sagemaker: Any, project: Project, note: str, definition: str) -> None:
    """Create the pipeline, unless another function has just done so."""
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
        # AWS reports a name that is taken with either code. If it was something else, the update that follows fails.
        if error.response["Error"]["Code"] not in ("ResourceInUse", "ValidationException"):
            raise
        if "exist" not in error.response["Error"]["Message"].lower():
            raise


def update(sagemaker: Any, project: Project, note: str, definition: str) -> int:
    """Write the definition as a new version of the pipeline and return the version's number.

    Retries while another update is in progress.
    """
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
            time.sleep(float(os.environ.get("WAIT_SECONDS", WAIT_SECONDS)))  # another update is in progress
    raise AssertionError("unreachable")


def started(sagemaker: Any, pipeline: str, note: str) -> str | None:
    """Return the ARN of the execution with this note among the newest 300, or None.

    Client request tokens alone do not prevent a second start, because they expire.
    """
    pages = sagemaker.get_paginator("list_pipeline_executions").paginate(
        PipelineName=pipeline, PaginationConfig={"MaxItems": 300}
    )
    for page in pages:
        for execution in page["PipelineExecutionSummaries"]:
            if execution.get("PipelineExecutionDescription") == note:
                return execution["PipelineExecutionArn"]
    return None


def tell(sns: Any, project: Project, version: DefinitionVersion, why: str) -> None:
    """Notify people that a definition was refused, instead of failing: another delivery would be refused too."""
    sns.publish(
        TopicArn=os.environ["NOTICES_TOPIC_ARN"],
        Subject=f"{project.name}: the pipeline definition was refused"[:100],
        Message=f"{why}\n\nThe pipeline stays as it was. Fix what is named, and push.\nLog: /aws/lambda/{os.environ['AWS_LAMBDA_FUNCTION_NAME']}",
    )
