"""A rehearsal that stays up for long: deleted resources leave no process, memory or file, and builds are queued."""

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


def workers(emulator, name: str) -> list[int]:
    """Return the ids of the processes that run a function."""
    marker = f"AWS_LAMBDA_FUNCTION_NAME={name}".encode()
    found = []
    for pid in processes_of(Path(emulator.folder).name):
        try:
            found += [pid] if marker in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0") else []
        except OSError:
            continue  # the process has ended
    return found


def make_stack(emulator, name: str, role: str, function: str) -> None:
    properties = {
        "FunctionName": function, "Role": role, "Runtime": "python3.12", "Handler": "index.handler", "Timeout": 30,
        "Code": {"ZipFile": CODE},
    }  # fmt: skip
    template = {"Resources": {"Function": {"Type": "AWS::Lambda::Function", "Properties": properties}}}
    cloudformation = emulator.client("cloudformation")
    cloudformation.create_stack(StackName=name, TemplateBody=json.dumps(template))
    cloudformation.get_waiter("stack_create_complete").wait(StackName=name, WaiterConfig={"Delay": 1})


def delete_stack(emulator, name: str) -> None:
    emulator.client("cloudformation").delete_stack(StackName=name)
    emulator.client("cloudformation").get_waiter("stack_delete_complete").wait(
        StackName=name, WaiterConfig={"Delay": 1}
    )


def test_the_processes_of_a_function_end_with_its_stack(emulator, role):
    make_stack(emulator, "long-idle", role, "long-idle")
    emulator.client("lambda").invoke(FunctionName="long-idle", Payload='{"awaited": "/"}')  # returns at once
    assert workers(emulator, "long-idle")

    delete_stack(emulator, "long-idle")

    assert not workers(emulator, "long-idle")


def test_a_function_that_is_deleted_while_it_runs_runs_to_its_end_and_leaves_no_process(emulator, role, tmp_path):
    make_stack(emulator, "long-busy", role, "long-busy")
    event = json.dumps({"awaited": str(tmp_path / "deleted")})
    emulator.client("lambda").invoke(FunctionName="long-busy", InvocationType="Event", Payload=event)
    running = wait_for(lambda: workers(emulator, "long-busy"))

    delete_stack(emulator, "long-busy")

    assert workers(emulator, "long-busy") == running
    (tmp_path / "deleted").touch()
    wait_for(lambda: not workers(emulator, "long-busy"))


# --- objects ---------------------------------------------------------------------------------------------------------

LARGE = 8 * 1024 * 1024


@pytest.fixture
def objects(emulator):
    """Return the name of a new, empty, versioned bucket."""
    name = f"long-{uuid.uuid4().hex}"
    emulator.client("s3").create_bucket(Bucket=name)
    emulator.client("s3").put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    return name


def files(emulator) -> set[Path]:
    return set((Path(emulator.folder) / "objects").iterdir())


def memory_of(pid: int) -> int:
    """Return the resident memory of a process, in bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def body(number: int) -> bytes:
    return bytes([number]) * LARGE


def test_objects_and_their_versions_are_on_disk_and_not_in_memory(emulator, objects):
    s3, before = emulator.client("s3"), memory_of(emulator.pid)

    versions = [s3.put_object(Bucket=objects, Key="data", Body=body(n))["VersionId"] for n in range(40)]

    assert memory_of(emulator.pid) - before < 40 * LARGE / 2
    for number in (0, 20, 39):
        found = s3.get_object(Bucket=objects, Key="data", VersionId=versions[number])
        assert found["Body"].read() == body(number)
        assert found["ContentLength"] == LARGE


def test_an_object_on_disk_is_copied_read_in_parts_and_uploaded_in_parts(emulator, objects):
    s3 = emulator.client("s3")
    upload = {"Bucket": objects, "Key": "parts", "UploadId": s3.create_multipart_upload(Bucket=objects, Key="parts")["UploadId"]}  # fmt: skip
    parts = [{"PartNumber": n, "ETag": s3.upload_part(**upload, PartNumber=n, Body=body(n))["ETag"]} for n in (1, 2)]
    s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})

    s3.copy_object(Bucket=objects, Key="copy", CopySource=f"{objects}/parts")
    s3.delete_object(Bucket=objects, Key="parts")

    assert s3.get_object(Bucket=objects, Key="copy")["Body"].read() == body(1) + body(2)
    edge = s3.get_object(Bucket=objects, Key="copy", Range=f"bytes={LARGE - 1}-{LARGE}")
    assert edge["Body"].read() == b"\1\2"


def test_the_older_version_is_back_when_the_newest_is_deleted_and_files_go_with_the_last(emulator, objects):
    s3, before = emulator.client("s3"), files(emulator)
    versions = [s3.put_object(Bucket=objects, Key="data", Body=body(n))["VersionId"] for n in range(3)]
    assert len(files(emulator) - before) == 3

    s3.delete_object(Bucket=objects, Key="data", VersionId=versions[2])

    assert s3.get_object(Bucket=objects, Key="data")["Body"].read() == body(1)
    assert len(files(emulator) - before) == 2
    for version in versions[:2]:
        s3.delete_object(Bucket=objects, Key="data", VersionId=version)
    assert files(emulator) <= before
    s3.delete_bucket(Bucket=objects)


def test_what_is_overwritten_without_versions_leaves_no_file(emulator):
    s3, name, before = emulator.client("s3"), f"long-{uuid.uuid4().hex}", files(emulator)
    s3.create_bucket(Bucket=name)

    for number in range(3):
        s3.put_object(Bucket=name, Key="data", Body=body(number))

    assert len(files(emulator) - before) == 1
    assert s3.get_object(Bucket=name, Key="data")["Body"].read() == body(2)


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
def project(emulator, make_role, tmp_path):
    """Yield the name of a build project whose builds wait for the file `awaited`, then write the file `after`.

    Afterwards, let all of its builds end.
    """
    name, source = f"long-{uuid.uuid4().hex[:8]}", tmp_path / "source"
    source.mkdir()
    (source / "buildspec.yml").write_text(WAITING % (tmp_path / "awaited", tmp_path / "after"))
    for command in (["init", "-qb", "main"], ["add", "."], ["-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "-qm", "x"]):  # fmt: skip
        subprocess.run(["git", "-C", source, *command], check=True)
    emulator.client("codebuild").create_project(
        name=name,
        source={"type": "GITHUB", "location": str(source)},
        artifacts={"type": "NO_ARTIFACTS"},
        environment={"type": "LINUX_CONTAINER", "image": "aws/codebuild/standard:7.0", "computeType": "BUILD_GENERAL1_SMALL"},
        serviceRole=make_role(name, "codebuild"),
    )  # fmt: skip
    yield name
    (tmp_path / "awaited").touch()
    wait_for(lambda: all("endTime" in build for build in builds(emulator, name)))


def builds(emulator, project: str) -> list[dict]:
    """Return the builds of a project, oldest first."""
    codebuild = emulator.client("codebuild")
    ids = codebuild.list_builds_for_project(projectName=project, sortOrder="ASCENDING")["ids"]
    return codebuild.batch_get_builds(ids=ids)["builds"]


def fill(emulator, project: str) -> str:
    """Start as many builds as the emulator runs at once, wait until they run, and return the id of one more."""
    codebuild = emulator.client("codebuild")
    for _ in range(PLACES):
        codebuild.start_build(projectName=project, sourceVersion="main")
    wait_for(lambda: all(build["currentPhase"] == "BUILD" for build in builds(emulator, project)), seconds=120)
    return codebuild.start_build(projectName=project, sourceVersion="main")["build"]["id"]


def build_of(emulator, number: str) -> dict:
    return emulator.client("codebuild").batch_get_builds(ids=[number])["builds"][0]


def test_a_build_beyond_what_the_machine_takes_is_queued_and_runs_when_another_ends(emulator, project, tmp_path):
    last = fill(emulator, project)
    wait_for(lambda: build_of(emulator, last)["currentPhase"] == "QUEUED")
    assert build_of(emulator, last)["buildStatus"] == "IN_PROGRESS"

    (tmp_path / "awaited").touch()

    wait_for(lambda: all("endTime" in build for build in builds(emulator, project)))
    assert {build["buildStatus"] for build in builds(emulator, project)} == {"SUCCEEDED"}


def test_a_queued_build_that_is_stopped_ends_at_once_and_never_runs(emulator, project):
    last = fill(emulator, project)

    emulator.client("codebuild").stop_build(id=last)

    build = wait_for(lambda: (found := build_of(emulator, last))["phases"][-1]["phaseType"] == "COMPLETED" and found)
    assert build["buildStatus"] == "STOPPED"
    assert [phase["phaseType"] for phase in build["phases"]] == ["SUBMITTED", "QUEUED", "COMPLETED"]
    assert [phase["phaseStatus"] for phase in build["phases"][:2]] == ["SUCCEEDED", "STOPPED"]


def test_a_running_build_that_is_stopped_ends_with_its_processes_and_leaves_its_place(emulator, project, tmp_path):
    last = fill(emulator, project)
    first = next(build["id"] for build in builds(emulator, project) if build["id"] != last)

    emulator.client("codebuild").stop_build(id=first)

    wait_for(lambda: build_of(emulator, last)["currentPhase"] == "BUILD", seconds=120)
    stopped = build_of(emulator, first)
    assert stopped["buildStatus"] == "STOPPED"
    assert stopped["phases"][-2] | {"phaseType": "BUILD", "phaseStatus": "STOPPED"} == stopped["phases"][-2]
    assert not (tmp_path / "after").exists()


def test_stopping_a_build_that_has_ended_changes_nothing(emulator, project, tmp_path):
    (tmp_path / "awaited").touch()
    number = emulator.client("codebuild").start_build(projectName=project, sourceVersion="main")["build"]["id"]
    ended = wait_for(lambda: "endTime" in (found := build_of(emulator, number)) and found)

    stopped = emulator.client("codebuild").stop_build(id=number)["build"]

    assert (stopped["buildStatus"], stopped["endTime"]) == ("SUCCEEDED", ended["endTime"])
