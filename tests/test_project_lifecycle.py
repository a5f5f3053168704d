"""The custom resource of a project: it always responds to CloudFormation, and empties what AWS would not delete."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace

import pytest

import project_lifecycle

CONTEXT = SimpleNamespace(get_remaining_time_in_millis=lambda: 60_000)


@pytest.fixture
def cloudformation():
    """Yield a server that collects responses of a custom resource, in place of CloudFormation's pre-signed URL."""
    answers = []

    class Address(BaseHTTPRequestHandler):
        def do_PUT(self):
            answers.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Address)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield SimpleNamespace(url=f"http://127.0.0.1:{server.server_port}/", answers=answers)
    server.shutdown()


@pytest.fixture
def project(emulator, bucket, cloudformation, monkeypatch):
    values = {
        "NAME": "lifecycle",
        "ID": "p-lifecycle",
        "BUCKET": "emptied-111122223333",
        "MODEL_GROUP": "none",
    }
    for name, value in values.items():
        monkeypatch.setenv(f"PROJECT_{name}", value)
    for name, value in emulator.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("STACK_ROLE_ARN", "arn:aws:iam::111122223333:role/none")
    monkeypatch.setenv("STACK_ID", "stack")
    monkeypatch.setenv("URL_SUFFIX", "amazonaws.com")
    # AWS_ENDPOINT_URL allows the response to go to the fake CloudFormation; API calls use each service's endpoint.
    for service in ("CODEBUILD", "CLOUDFORMATION", "S3", "SAGEMAKER", "SNS"):
        monkeypatch.setenv(f"AWS_ENDPOINT_URL_{service}", emulator.endpoint)
    monkeypatch.setenv("AWS_ENDPOINT_URL", cloudformation.url)
    monkeypatch.setenv("WAIT_SECONDS", "0.01")


def event(kind: str, url: str, **more: str) -> dict:
    return {
        **more,
        "RequestType": kind,
        "RequestId": "request",
        "ResponseURL": url,
        "StackId": "stack",
        "LogicalResourceId": "Lifecycle",
        "ResourceProperties": {"BuildProject": "there-is-none"},
    }


def test_an_update_is_answered_and_changes_nothing(project, cloudformation):
    request = event("Update", cloudformation.url)
    request["ResourceProperties"]["BuildProject"] = "sagemaker-p-lifecycle-build"

    project_lifecycle.handler(request, CONTEXT)

    assert [answer["Status"] for answer in cloudformation.answers] == ["SUCCESS"]


def test_what_fails_is_answered_too_with_its_reason(project, cloudformation):
    project_lifecycle.handler(event("Create", cloudformation.url), CONTEXT)

    assert cloudformation.answers[0]["Status"] == "FAILED"
    assert "there-is-none" in cloudformation.answers[0]["Reason"]


@pytest.mark.parametrize("kind", ["Deleet", "", None])
def test_an_unknown_request_is_answered_as_failed(project, cloudformation, kind):
    request = event(kind, cloudformation.url)
    request["ResourceProperties"]["BuildProject"] = "sagemaker-p-lifecycle-build"

    project_lifecycle.handler(request, CONTEXT)

    (answer,) = cloudformation.answers
    assert (answer["Status"], answer["Reason"]) == (
        "FAILED",
        f"ValueError: the request type is {kind!r}, and not Create, Update or Delete.",
    )


@pytest.mark.parametrize(
    "change, why",
    [
        ({"StackId": "theirs"}, "the event is of stack theirs, and this function of stack"),
        ({"ResponseURL": "https://evil.example/answer"}, "the answer would go to evil.example, which is not AWS's by https"),
        ({"ResponseURL": "http://bucket.s3.amazonaws.com/x"}, "the answer would go to bucket.s3.amazonaws.com, which is not"),
        ({"ResponseURL": "https://amazonaws.com.evil.example/"}, "the answer would go to amazonaws.com.evil.example"),
        ({"ResponseURL": "file:///etc/passwd"}, "the answer would go to None, which is not AWS's by https"),
        ({"ResponseURL": None}, "the event lacks ResponseURL. Only CloudFormation invokes this function."),
        ({"LogicalResourceId": None}, "the event lacks LogicalResourceId."),
    ],
)  # fmt: skip
def test_an_event_that_is_not_its_stacks_does_nothing(project, cloudformation, emulator, change, why):
    emulator.client("s3").create_bucket(Bucket="emptied-111122223333")
    request = {name: value for name, value in (event("Delete", cloudformation.url) | change).items() if value}

    with pytest.raises(ValueError, match=why):
        project_lifecycle.handler(request, CONTEXT)

    assert cloudformation.answers == []
    assert "emptied-111122223333" in [bucket["Name"] for bucket in emulator.client("s3").list_buckets()["Buckets"]]
    emulator.client("s3").delete_bucket(Bucket="emptied-111122223333")


def test_the_answer_goes_to_aws_of_the_partition(project):
    assert project_lifecycle.is_of_aws("https://cloudformation-custom-resource-response-useast1.s3.amazonaws.com/x?y")


@pytest.fixture
def with_data(emulator, project):
    """Yield the emulator with the project's build project and a bucket that is not empty."""
    s3, codebuild = emulator.client("s3"), emulator.client("codebuild")
    s3.create_bucket(Bucket="emptied-111122223333")
    s3.put_object(Bucket="emptied-111122223333", Key="data", Body=b"x")
    codebuild.create_project(
        name="sagemaker-p-lifecycle-build",
        source={"type": "NO_SOURCE"},
        artifacts={"type": "NO_ARTIFACTS"},
        environment={"type": "LINUX_CONTAINER", "image": "aws/codebuild/standard:7.0", "computeType": "BUILD_GENERAL1_SMALL"},
        serviceRole="arn:aws:iam::111122223333:role/none",
    )  # fmt: skip
    yield emulator
    codebuild.delete_project(name="sagemaker-p-lifecycle-build")
    project_lifecycle.delete_bucket(s3, "emptied-111122223333", deadline=0)


@pytest.mark.parametrize(
    "physical_id, answered, left",
    [("lifecycle-never-made", "SUCCESS", False), ("lifecycle-Lifecycle", "SUCCESS", True)],
)
def test_data_stays_of_a_project_and_not_of_one_that_was_never_made(
    with_data, cloudformation, monkeypatch, physical_id, answered, left
):
    topic = with_data.client("sns").create_topic(Name="lifecycle-of-tests")["TopicArn"]
    monkeypatch.setenv("NOTICES_TOPIC_ARN", topic)
    request = event("Delete", cloudformation.url, PhysicalResourceId=physical_id)
    request["ResourceProperties"] = {"BuildProject": "sagemaker-p-lifecycle-build", "RetainData": "true"}

    project_lifecycle.handler(request, CONTEXT)

    buckets = [bucket["Name"] for bucket in with_data.client("s3").list_buckets()["Buckets"]]
    assert [answer["Status"] for answer in cloudformation.answers] == [answered], cloudformation.answers
    assert ("emptied-111122223333" in buckets) == left


def test_a_creation_that_failed_says_so_by_its_id(project, cloudformation):
    project_lifecycle.handler(event("Create", cloudformation.url), CONTEXT)

    assert cloudformation.answers[0]["PhysicalResourceId"] == project_lifecycle.NEVER_MADE


def test_every_version_and_delete_marker_is_removed(emulator):
    s3 = emulator.client("s3")
    s3.create_bucket(Bucket="emptied-111122223333")
    s3.put_bucket_versioning(Bucket="emptied-111122223333", VersioningConfiguration={"Status": "Enabled"})
    for number in range(30):
        s3.put_object(Bucket="emptied-111122223333", Key=f"key{number % 10}", Body=b"x")
    s3.delete_object(Bucket="emptied-111122223333", Key="key1")

    project_lifecycle.delete_bucket(s3, "emptied-111122223333", deadline=0)
    project_lifecycle.delete_bucket(s3, "emptied-111122223333", deadline=0)  # a second deletion is no error

    assert "emptied-111122223333" not in [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]]


def test_waiting_ends_before_the_function_does():
    with pytest.raises(TimeoutError, match="gave up waiting for a stack. Try again: what is done stays done."):
        project_lifecycle.wait(deadline=0, what="a stack")
