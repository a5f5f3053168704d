"""The custom resource: always answers, and empties what AWS would refuse to delete."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace

import pytest

import project_lifecycle

CONTEXT = SimpleNamespace(get_remaining_time_in_millis=lambda: 60_000)


@pytest.fixture
def cloudformation():
    """Something that takes a custom resource's answer, as CloudFormation does by a pre-signed address."""
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
def project(played, bucket, monkeypatch):
    values = {
        "NAME": "tests",
        "ID": "p-tests",
        "BUCKET": "emptied-111122223333",
        "PIPELINE": "none",
        "MODEL_GROUP": "none",
    }
    for name, value in values.items():
        monkeypatch.setenv(f"PROJECT_{name}", value)
    for name, value in played.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("STACK_ROLE_ARN", "arn:aws:iam::111122223333:role/none")


def event(kind: str, url: str) -> dict:
    return {
        "RequestType": kind,
        "RequestId": "request",
        "ResponseURL": url,
        "StackId": "stack",
        "LogicalResourceId": "Lifecycle",
        "ResourceProperties": {"BuildProject": "there-is-none"},
    }


def test_an_update_is_answered_and_changes_nothing(project, cloudformation):
    project_lifecycle.handler(event("Update", cloudformation.url), CONTEXT)

    assert [answer["Status"] for answer in cloudformation.answers] == ["SUCCESS"]


def test_what_fails_is_answered_too_with_its_reason(project, cloudformation):
    project_lifecycle.handler(event("Create", cloudformation.url), CONTEXT)

    assert cloudformation.answers[0]["Status"] == "FAILED"
    assert "there-is-none" in cloudformation.answers[0]["Reason"]


def test_every_version_and_delete_marker_is_removed(played):
    s3 = played.client("s3")
    s3.create_bucket(Bucket="emptied-111122223333")
    s3.put_bucket_versioning(Bucket="emptied-111122223333", VersioningConfiguration={"Status": "Enabled"})
    for number in range(30):
        s3.put_object(Bucket="emptied-111122223333", Key=f"key{number % 10}", Body=b"x")
    s3.delete_object(Bucket="emptied-111122223333", Key="key1")

    project_lifecycle.delete_bucket(s3, "emptied-111122223333", deadline=0)
    project_lifecycle.delete_bucket(s3, "emptied-111122223333", deadline=0)  # again: gone is gone

    assert "emptied-111122223333" not in [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]]


def test_waiting_ends_before_the_function_does():
    with pytest.raises(TimeoutError, match="gave up waiting for a stack. Delete the project again to go on."):
        project_lifecycle.wait(deadline=0, what="a stack")
