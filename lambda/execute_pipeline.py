"""Create the project's pipeline, or update it, and start it.

Invoked when a new version of pipeline/pipeline.json is written to the project's bucket. Events come at least once and
in any order, so nothing here relies on either: the newest version in the bucket decides, a definition that the
pipeline already has starts nothing, and a start carries a token made of the version, so that it happens once.
"""

import hashlib
import json
import os
from dataclasses import dataclass
from typing import Any

import boto3
from aws_lambda_powertools import Logger

from project import Project

logger = Logger(service="execute-pipeline")


@dataclass(frozen=True)
class DefinitionVersion:
    """One version of the definition in the project's bucket."""

    bucket: str
    key: str
    version: str

    @classmethod
    def from_event(cls, event: dict[str, Any]) -> "DefinitionVersion":
        """Read an "Object Created" event: docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html."""
        detail = event["detail"]
        return cls(detail["bucket"]["name"], detail["object"]["key"], detail["object"]["version-id"])

    @property
    def token(self) -> str:
        """The idempotency token of the run that this version starts: 64 of the 32 to 128 characters allowed."""
        return hashlib.sha256(f"{self.bucket}/{self.key}/{self.version}".encode()).hexdigest()

    @property
    def note(self) -> str:
        """What the pipeline's description says, by which a repeated event finds its own work."""
        return f"s3://{self.bucket}/{self.key} version {self.version}"


def handler(event: dict[str, Any], context: object) -> dict[str, str]:
    version = DefinitionVersion.from_event(event)
    s3 = boto3.client("s3")
    newest = s3.head_object(Bucket=version.bucket, Key=version.key)["VersionId"]
    if newest != version.version:
        return report("superseded", version, newest=newest)
    definition = read(s3, version)
    return start(boto3.client("sagemaker"), Project.from_environment(), version, definition)


def read(s3: Any, version: DefinitionVersion) -> str:
    """The definition as text. Raises ValueError when it is not a JSON object with steps."""
    body = s3.get_object(Bucket=version.bucket, Key=version.key, VersionId=version.version)["Body"].read()
    try:
        definition = json.loads(body)
    except ValueError as error:
        raise ValueError(f"{version.note} is not JSON: {error}. Run the build again.") from error
    if not isinstance(definition, dict) or not definition.get("Steps"):
        raise ValueError(f"{version.note} has no Steps. Run the build again.")
    return body.decode()


def start(sagemaker: Any, project: Project, version: DefinitionVersion, definition: str) -> dict[str, str]:
    """Bring the pipeline to this definition and run it, unless it has it already."""
    current = describe(sagemaker, project.pipeline)
    if current is None:
        sagemaker.create_pipeline(
            PipelineName=project.pipeline,
            PipelineDefinition=definition,
            PipelineDescription=version.note,
            RoleArn=os.environ["PIPELINE_ROLE_ARN"],
            ClientRequestToken=version.token,
            Tags=project.tags,
        )
    elif json.loads(current["PipelineDefinition"]) != json.loads(definition):
        sagemaker.update_pipeline(
            PipelineName=project.pipeline,
            PipelineDefinition=definition,
            PipelineDescription=version.note,
            RoleArn=os.environ["PIPELINE_ROLE_ARN"],
        )
    elif current.get("PipelineDescription") != version.note:
        return report("unchanged", version)
    execution = sagemaker.start_pipeline_execution(PipelineName=project.pipeline, ClientRequestToken=version.token)
    return report("started", version, execution=execution["PipelineExecutionArn"])


def describe(sagemaker: Any, name: str) -> dict[str, Any] | None:
    """The pipeline of exactly this name, or None."""
    try:
        return sagemaker.describe_pipeline(PipelineName=name)
    except sagemaker.exceptions.ResourceNotFound:
        return None


def report(outcome: str, version: DefinitionVersion, **more: str) -> dict[str, str]:
    """Log what was done, and answer it."""
    answer = {"outcome": outcome, "definition": version.note, **more}
    logger.info("pipeline %s", outcome, extra=answer)
    return answer
