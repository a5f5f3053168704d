"""A rehearsal that is up for long: what has been deleted takes no process, no memory and no disk any more."""

import json
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
