"""The function that runs the pipeline: created, updated, started once, and never by an older version."""

import json
import re

import pytest

import execute_pipeline
from execute_pipeline import DefinitionVersion
from project import Project


def definition(message: str) -> bytes:
    """A pipeline that ends at once, so that its runs cost nothing."""
    step = {"Name": "Fail", "Type": "Fail", "Arguments": {"ErrorMessage": message}}
    return json.dumps({"Version": "2020-12-01", "Parameters": [], "Steps": [step]}).encode()


class Pushes:
    """A project of a test, and what happens to it."""

    def __init__(self, played, bucket: str, name: str):
        self.s3, self.sagemaker = played.client("s3"), played.client("sagemaker")
        self.project = Project(name, "p-tests", bucket, name, name)
        self.key = f"{name}/pipeline.json"

    def put(self, body: bytes) -> DefinitionVersion:
        version = self.s3.put_object(Bucket=self.project.bucket, Key=self.key, Body=body)["VersionId"]
        return DefinitionVersion(self.project.bucket, self.key, version)

    def deliver(self, version: DefinitionVersion) -> str:
        text = execute_pipeline.read(self.s3, version)
        return execute_pipeline.start(self.sagemaker, self.project, version, text)["outcome"]

    def executions(self) -> int:
        listed = self.sagemaker.list_pipeline_executions(PipelineName=self.project.pipeline)
        return len(listed["PipelineExecutionSummaries"])


@pytest.fixture
def pushes(played, bucket, make_role, request, monkeypatch):
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name)[:60].strip("-")
    monkeypatch.setenv("PIPELINE_ROLE_ARN", make_role(name, "sagemaker", "sagemaker:*"))
    return Pushes(played, bucket, name)


def test_the_first_definition_creates_and_starts(pushes):
    assert pushes.deliver(pushes.put(definition("one"))) == "started"
    assert pushes.executions() == 1


def test_a_repeated_event_starts_nothing_twice(pushes):
    version = pushes.put(definition("one"))

    pushes.deliver(version)
    pushes.deliver(version)

    assert pushes.executions() == 1


def test_an_equal_definition_in_a_new_version_starts_nothing(pushes):
    pushes.deliver(pushes.put(definition("one")))

    assert pushes.deliver(pushes.put(definition("one"))) == "unchanged"
    assert pushes.executions() == 1


def test_a_changed_definition_updates_and_starts(pushes):
    pushes.deliver(pushes.put(definition("one")))
    pushes.deliver(pushes.put(definition("two")))

    current = pushes.sagemaker.describe_pipeline(PipelineName=pushes.project.pipeline)["PipelineDefinition"]
    assert json.loads(current)["Steps"][0]["Arguments"]["ErrorMessage"] == "two"
    assert pushes.executions() == 2


def test_an_older_version_never_replaces_a_newer_one(pushes, played, monkeypatch):
    older, _ = pushes.put(definition("one")), pushes.put(definition("two"))
    for name, value in played.environment().items():
        monkeypatch.setenv(name, value)
    detail = {"bucket": {"name": older.bucket}, "object": {"key": older.key, "version-id": older.version}}

    assert execute_pipeline.handler({"detail": detail}, None)["outcome"] == "superseded"


def test_the_pipeline_carries_the_tags_that_studio_looks_for(pushes):
    pushes.deliver(pushes.put(definition("one")))
    arn = pushes.sagemaker.describe_pipeline(PipelineName=pushes.project.pipeline)["PipelineArn"]

    assert {"Key": "sagemaker:project-id", "Value": "p-tests"} in pushes.sagemaker.list_tags(ResourceArn=arn)["Tags"]


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"Steps": []}'], ids=["broken", "list", "no-steps"])
def test_what_is_no_definition_is_refused_by_name(pushes, body):
    version = pushes.put(body)

    with pytest.raises(ValueError, match=rf"{pushes.key} version {version.version} .*Run the build again"):
        execute_pipeline.read(pushes.s3, version)
