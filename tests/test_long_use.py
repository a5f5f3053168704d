"""A rehearsal that is up for long: what has been deleted takes no process, no memory and no disk any more."""

import json
import os
import subprocess
import uuid
from pathlib import Path

import pytest
from conftest import wait_for

from rehearsal.traces import processes_of

CODE = """
import os, time
def handler(event, context):
    while not os.path.exists(event["awaited"]):
        time.sleep(0.05)
"""


@pytest.fixture(scope="module")
def role(make_role) -> str:
    return make_role("long-use-function", "lambda")


def workers(played, name: str) -> list[int]:
    """The processes in which a function runs."""
    marker = f"AWS_LAMBDA_FUNCTION_NAME={name}".encode()
    found = []
    for pid in processes_of(Path(played.folder).name):
        try:
            found += [pid] if marker in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0") else []
        except OSError:
            continue  # it has ended
    return found


def make_stack(played, name: str, role: str, function: str) -> None:
    properties = {
        "FunctionName": function, "Role": role, "Runtime": "python3.12", "Handler": "index.handler", "Timeout": 30,
        "Code": {"ZipFile": CODE},
    }  # fmt: skip
    template = {"Resources": {"Function": {"Type": "AWS::Lambda::Function", "Properties": properties}}}
    cloudformation = played.client("cloudformation")
    cloudformation.create_stack(StackName=name, TemplateBody=json.dumps(template))
    cloudformation.get_waiter("stack_create_complete").wait(StackName=name, WaiterConfig={"Delay": 1})


def delete_stack(played, name: str) -> None:
    played.client("cloudformation").delete_stack(StackName=name)
    played.client("cloudformation").get_waiter("stack_delete_complete").wait(StackName=name, WaiterConfig={"Delay": 1})


def test_the_processes_of_a_function_end_with_its_stack(played, role):
    make_stack(played, "long-idle", role, "long-idle")
    played.client("lambda").invoke(FunctionName="long-idle", Payload='{"awaited": "/"}')
    assert workers(played, "long-idle")

    delete_stack(played, "long-idle")

    assert not workers(played, "long-idle")


def test_a_function_that_is_deleted_while_it_runs_runs_to_its_end_and_leaves_no_process(played, role, tmp_path):
    make_stack(played, "long-busy", role, "long-busy")
    event = json.dumps({"awaited": str(tmp_path / "deleted")})
    played.client("lambda").invoke(FunctionName="long-busy", InvocationType="Event", Payload=event)
    running = wait_for(lambda: workers(played, "long-busy"))

    delete_stack(played, "long-busy")

    assert workers(played, "long-busy") == running
    (tmp_path / "deleted").touch()
    wait_for(lambda: not workers(played, "long-busy"))


# --- builds ----------------------------------------------------------------------------------------------------------

PLACES = max(2, os.cpu_count() or 2)
WAITING = """version: 0.2
phases:
  build:
    commands:
      - "while [ ! -e '%s' ]; do sleep 0.05; done"
  post_build:
    commands:
      - "touch '%s'"
"""


@pytest.fixture
def project(played, make_role, tmp_path):
    """The name of a build project whose builds wait for the file `awaited`, and write `after` in the end."""
    name, source = f"long-{uuid.uuid4().hex[:8]}", tmp_path / "source"
    source.mkdir()
    (source / "buildspec.yml").write_text(WAITING % (tmp_path / "awaited", tmp_path / "after"))
    for command in (["init", "-qb", "main"], ["add", "."], ["-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "-qm", "x"]):  # fmt: skip
        subprocess.run(["git", "-C", source, *command], check=True)
    played.client("codebuild").create_project(
        name=name,
        source={"type": "GITHUB", "location": str(source)},
        artifacts={"type": "NO_ARTIFACTS"},
        environment={"type": "LINUX_CONTAINER", "image": "aws/codebuild/standard:7.0", "computeType": "BUILD_GENERAL1_SMALL"},
        serviceRole=make_role(name, "codebuild"),
    )  # fmt: skip
    yield name
    (tmp_path / "awaited").touch()
    wait_for(lambda: all("endTime" in build for build in builds(played, name)))


def builds(played, project: str) -> list[dict]:
    """The builds of a project in the order in which they were started."""
    codebuild = played.client("codebuild")
    ids = codebuild.list_builds_for_project(projectName=project, sortOrder="ASCENDING")["ids"]
    return codebuild.batch_get_builds(ids=ids)["builds"]


def fill(played, project: str) -> str:
    """Start a build for each place, wait until all run, and start one more: return its id."""
    codebuild = played.client("codebuild")
    for _ in range(PLACES):
        codebuild.start_build(projectName=project, sourceVersion="main")
    wait_for(lambda: all(build["currentPhase"] == "BUILD" for build in builds(played, project)))
    return codebuild.start_build(projectName=project, sourceVersion="main")["build"]["id"]


def build_of(played, number: str) -> dict:
    return played.client("codebuild").batch_get_builds(ids=[number])["builds"][0]


def test_a_build_beyond_what_the_machine_takes_is_queued_and_runs_when_another_ends(played, project, tmp_path):
    last = fill(played, project)
    wait_for(lambda: build_of(played, last)["currentPhase"] == "QUEUED")
    assert build_of(played, last)["buildStatus"] == "IN_PROGRESS"

    (tmp_path / "awaited").touch()

    wait_for(lambda: all("endTime" in build for build in builds(played, project)))
    assert {build["buildStatus"] for build in builds(played, project)} == {"SUCCEEDED"}


def test_a_queued_build_that_is_stopped_ends_at_once_and_never_runs(played, project):
    last = fill(played, project)

    played.client("codebuild").stop_build(id=last)

    build = wait_for(lambda: (found := build_of(played, last))["phases"][-1]["phaseType"] == "COMPLETED" and found)
    assert build["buildStatus"] == "STOPPED"
    assert [phase["phaseType"] for phase in build["phases"]] == ["SUBMITTED", "QUEUED", "COMPLETED"]
    assert [phase["phaseStatus"] for phase in build["phases"][:2]] == ["SUCCEEDED", "STOPPED"]


def test_a_running_build_that_is_stopped_ends_with_its_processes_and_leaves_its_place(played, project, tmp_path):
    last = fill(played, project)
    first = next(build["id"] for build in builds(played, project) if build["id"] != last)

    played.client("codebuild").stop_build(id=first)

    wait_for(lambda: build_of(played, last)["currentPhase"] == "BUILD")
    stopped = build_of(played, first)
    assert stopped["buildStatus"] == "STOPPED"
    assert stopped["phases"][-2] | {"phaseType": "BUILD", "phaseStatus": "STOPPED"} == stopped["phases"][-2]
    assert not (tmp_path / "after").exists()


def test_stopping_a_build_that_has_ended_changes_nothing(played, project, tmp_path):
    (tmp_path / "awaited").touch()
    number = played.client("codebuild").start_build(projectName=project, sourceVersion="main")["build"]["id"]
    ended = wait_for(lambda: "endTime" in (found := build_of(played, number)) and found)

    stopped = played.client("codebuild").stop_build(id=number)["build"]

    assert (stopped["buildStatus"], stopped["endTime"]) == ("SUCCEEDED", ended["endTime"])
