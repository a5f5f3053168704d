"""The function that runs the pipeline: it creates, updates and starts it once, never from an older version."""

import hashlib
import json
import os
import threading

import pytest
from botocore.config import Config

from benchmarks.deliveries import Death, Pushes, definition
from execute_pipeline import DefinitionVersion
from rehearsal.notices import Mailbox
from spotkit.checks.project import Project


@pytest.fixture
def pushes(emulator, bucket, make_role, request, monkeypatch):
    name = f"executes-{hashlib.sha256(request.node.name.encode()).hexdigest()[:12]}"
    topic = emulator.client("sns").create_topic(Name=name)["TopicArn"]
    role = make_role(name, "sagemaker", "sagemaker:*")
    for variable, value in Pushes.environment(role, topic).items():
        monkeypatch.setenv(variable, value)
    return Pushes(emulator, bucket, name)


@pytest.fixture
def notices(emulator, pushes):
    """Return a function that reads the notices published to the project's topic."""
    return Mailbox(emulator, os.environ["NOTICES_TOPIC_ARN"], f"{pushes.project.pipeline}-notices").read


def test_the_first_definition_creates_and_starts(pushes):
    assert pushes.deliver(pushes.put(definition("one")))["outcome"] == "started"
    assert pushes.runs() == ["one"]


def test_a_repeated_event_starts_nothing_twice(pushes):
    version = pushes.put(definition("one"))

    outcomes = [pushes.deliver(version)["outcome"] for _ in range(3)]

    assert outcomes == ["started", "unchanged", "unchanged"]
    assert pushes.runs() == ["one"]


def test_an_equal_definition_in_a_new_version_starts_nothing(pushes):
    pushes.deliver(pushes.put(definition("one")))

    assert pushes.deliver(pushes.put(definition("one")))["outcome"] == "unchanged"
    assert pushes.runs() == ["one"]


def test_a_changed_definition_updates_and_starts_and_so_does_its_return(pushes):
    for message in ("one", "two", "one"):
        pushes.deliver(pushes.put(definition(message)))

    assert pushes.current() == "one"
    assert pushes.runs() == ["one", "two", "one"]


def test_an_older_version_never_replaces_a_newer_one(pushes):
    older, newer = pushes.put(definition("one")), pushes.put(definition("two"))

    outcomes = [pushes.deliver(version)["outcome"] for version in (newer, older)]

    assert outcomes == ["started", "unchanged"]
    assert pushes.runs() == ["two"]


def test_an_older_event_brings_the_newest_definition_too(pushes):
    older, _ = pushes.put(definition("one")), pushes.put(definition("two"))

    assert pushes.deliver(older)["outcome"] == "started"
    assert pushes.runs() == ["two"]


def test_a_push_during_an_update_is_not_overwritten_by_it(pushes):
    older = pushes.put(definition("one"))

    def push(name: str) -> None:
        if name == "UpdatePipeline" and len(pushes.versions) == 1:
            pushes.put(definition("two"))

    outcome = pushes.deliver(older, after=push)["outcome"]

    assert (outcome, pushes.current(), pushes.runs()) == ("started", "two", ["two"])


def test_a_slow_function_leaves_no_older_state_behind(pushes):
    """The older invocation waits before UpdatePipeline until the newer one is done."""
    older = pushes.put(definition("one"))
    standing, go_on = threading.Event(), threading.Event()

    def stand(name: str) -> None:
        if name == "UpdatePipeline" and not go_on.is_set():
            standing.set()
            assert go_on.wait(30)

    slow = threading.Thread(target=pushes.deliver, args=(older,), kwargs={"before": stand})
    slow.start()
    assert standing.wait(30)
    pushes.deliver(pushes.put(definition("two")))
    go_on.set()
    slow.join()

    assert (pushes.current(), pushes.runs()) == ("two", ["two"])


def test_a_run_has_its_own_definition_though_another_was_written_before_it_started(pushes):
    version = pushes.put(definition("one"))
    pushes.deliver(pushes.put(definition("zero")))

    def overwrite(name: str) -> None:
        if name == "StartPipelineExecution":
            pushes.overwrite_pipeline(definition("by hand"))

    pushes.put(definition("one"))
    pushes.deliver(version, before=overwrite)

    assert pushes.runs() == ["zero", "one"]


@pytest.mark.parametrize("side", ["before", "after"])
@pytest.mark.parametrize("call", range(8))
def test_a_function_that_dies_between_two_calls_is_made_good_by_the_next_delivery(pushes, side, call):
    pushes.deliver(pushes.put(definition("one")))
    version = pushes.put(definition("two"))
    made = []

    def die(name: str) -> None:
        made.append(name)
        if len(made) == call + 1:
            raise Death

    try:
        pushes.deliver(version, **{side: die})
    except Death:
        pushes.deliver(version)

    assert (pushes.current(), pushes.runs()) == ("two", ["one", "two"])


@pytest.mark.parametrize("code", ["ThrottlingException", "ConflictException", "InternalFailure"])
@pytest.mark.parametrize("operation", ["DescribePipeline", "UpdatePipeline", "StartPipelineExecution"])
def test_what_aws_refuses_for_a_moment_is_tried_again(pushes, operation, code):
    version = pushes.put(definition("one"))

    pushes.refuse_once(operation, code)
    try:
        pushes.deliver(version)
    except pushes.sagemaker.exceptions.ClientError:
        pushes.deliver(version)  # EventBridge delivers the event again

    assert (pushes.current(), pushes.runs()) == ("one", ["one"])


def test_an_answer_that_does_not_come_is_given_up_and_made_good(pushes):
    version = pushes.put(definition("one"))
    impatient = Config(read_timeout=0.001, retries={"total_max_attempts": 1})

    with pytest.raises(Exception, match="Read timeout"):
        pushes.deliver(version, config=impatient)
    pushes.deliver(version)

    assert pushes.runs() == ["one"]


def test_a_pipeline_deleted_by_hand_is_made_anew_by_the_next_definition(pushes):
    pushes.deliver(pushes.put(definition("one")))
    pushes.settle()
    pushes.sagemaker.delete_pipeline(PipelineName=pushes.project.pipeline, ClientRequestToken="x" * 32)

    assert pushes.deliver(pushes.put(definition("two")))["outcome"] == "started"
    assert pushes.runs() == ["two"]


def test_a_version_that_is_gone_is_passed_over(pushes):
    pushes.deliver(pushes.put(definition("one")))
    gone = pushes.put(definition("two"))
    pushes.s3.delete_object(Bucket=gone.bucket, Key=gone.key, VersionId=gone.version)

    assert pushes.deliver(gone)["outcome"] == "unchanged"
    assert pushes.current() == "one"


def test_a_version_that_goes_while_it_is_read_is_passed_over(pushes):
    pushes.deliver(pushes.put(definition("one")))
    going = pushes.put(definition("two"))

    def delete(name: str) -> None:
        if name == "GetObject" and going:
            pushes.s3.delete_object(Bucket=going.bucket, Key=going.key, VersionId=going.version)

    assert pushes.deliver(going, before=delete)["outcome"] == "unchanged"


def test_a_deleted_definition_runs_nothing(pushes):
    version = pushes.put(definition("one"))
    pushes.s3.delete_object(Bucket=version.bucket, Key=version.key)

    assert pushes.deliver(version)["outcome"] == "nothing to run"


def test_the_pipeline_carries_the_tags_that_studio_looks_for(pushes):
    pushes.deliver(pushes.put(definition("one")))
    arn = pushes.sagemaker.describe_pipeline(PipelineName=pushes.project.pipeline)["PipelineArn"]

    assert {"Key": "sagemaker:project-id", "Value": "p-tests"} in pushes.sagemaker.list_tags(ResourceArn=arn)["Tags"]


@pytest.fixture
def suspended(emulator, pushes) -> Pushes:
    """Return Pushes into a bucket whose versioning is suspended."""
    name = f"suspended-{pushes.project.pipeline[-12:]}"
    pushes.s3.create_bucket(Bucket=name)
    pushes.s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Suspended"})
    return Pushes(emulator, name, pushes.project.pipeline)


def test_each_definition_runs_once_in_a_bucket_whose_versioning_is_suspended(suspended):
    outcomes = []
    for message in ("one", "two"):
        version = suspended.put(definition(message))
        outcomes += [suspended.deliver(version)["outcome"] for _ in range(2)]

    assert outcomes == ["started", "unchanged"] * 2
    assert suspended.runs() == ["one", "two"]


def test_a_refused_definition_is_told_of_in_a_bucket_whose_versioning_is_suspended(suspended, notices):
    suspended.deliver(suspended.put(b"{"))

    (told,) = notices()
    assert "Expecting property name" in told["Message"]


def created(bucket: str, key: str, **more: str) -> dict:
    """Return an S3 event with the members that the function reads."""
    return {"detail": {"bucket": {"name": bucket}, "object": {"key": key, **more}}}


PROJECT = Project("tests", "p-tests", "ours", "tests")


def test_an_event_names_a_version_of_the_projects_own_definition():
    event = created("ours", "pipeline/pipeline.json", **{"version-id": "v1"})

    assert DefinitionVersion.from_event(event, PROJECT).version == "v1"


def test_an_event_of_a_bucket_whose_versioning_is_suspended_has_no_version():
    event = created("ours", "pipeline/pipeline.json")

    assert DefinitionVersion.from_event(event, PROJECT).version == "null"


@pytest.mark.parametrize(
    "bucket, key", [("theirs", "pipeline/pipeline.json"), ("ours", "data/pipeline.json"), ("ours", "")]
)
def test_an_event_about_another_bucket_or_key_is_refused(bucket, key):
    with pytest.raises(
        ValueError, match=f"s3://{bucket}/{key}, and this function runs s3://ours/pipeline/pipeline.json"
    ):
        DefinitionVersion.from_event(created(bucket, key), PROJECT)


THEIRS = {
    "Name": "Train",
    "Type": "Lambda",
    "FunctionArn": "arn:aws:lambda:us-east-1:111122223333:function:theirs",
}
HOSTILE = {
    "broken": (b"{", "Expecting property name"),
    "list": (b"[]", "[] is not an object."),
    "no-steps": (b'{"Version": "2020-12-01", "Steps": []}', "Steps: it has 0 entries, fewer than 1."),
    "deep": (b"[" * 500_000, "it is nested more than 64 levels deep."),
    "huge-number": (b'{"Version": ' + b"9" * 100_000 + b"}", "has 100000 digits, more than 18."),
    "long": (b'"' + b"x" * 1_100_000 + b'"', "more than the 1,048,576 that a pipeline takes."),
    "longer": (b" " * 4_200_000, "has 4,200,000 bytes, more than a pipeline takes."),
    "theirs": (json.dumps({"Version": "2020-12-01", "Steps": [THEIRS]}).encode(), "function:theirs' is not this project's."),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_what_must_not_run_is_refused_people_are_told_and_the_last_good_one_stays(pushes, notices, name):
    body, why = HOSTILE[name]
    pushes.deliver(pushes.put(definition("good")))

    outcome = pushes.deliver(pushes.put(body))

    (told,) = notices()
    assert (outcome["outcome"], pushes.current(), pushes.runs()) == ("unchanged", "good", ["good"])
    assert why in outcome["refused"]
    assert told["Subject"] == f"{pushes.project.name}: the pipeline definition was refused"
    assert why in told["Message"]
    assert "Fix what is named, and push." in told["Message"]


def test_a_good_definition_runs_though_a_bad_one_came_after_it_and_was_delivered_first(pushes):
    good, bad = pushes.put(definition("good")), pushes.put(b"{")

    assert pushes.deliver(bad)["outcome"] == "started"
    assert pushes.deliver(good)["outcome"] == "unchanged"
    assert pushes.runs() == ["good"]
