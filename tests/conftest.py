"""Fixtures and helpers: a running emulator, shared by all tests that need an AWS API, with roles and a bucket."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from benchmarks import permissions
from rehearsal import server
from rehearsal.server import ACCOUNT, Emulator

for _name in [name for name in os.environ if name.startswith("GIT_")]:
    del os.environ[_name]  # a git hook sets GIT_DIR, but these tests run git in other repositories

ROOT = Path(__file__).parent.parent
SHARED = ROOT.parent / "shared/data"


# Rehearsals that run from one checkout see each other's state files, so one worker runs all of these.
REHEARSING = ("test_rehearsal", "test_kept", "test_ends", "test_bad_input")
# Slow files run first, so that both workers finish at about the same time.
LONG = (
    "test_readme",
    "test_projects",
    "test_permissions",
    "test_benchmarks",
    "test_interruptions",
    "test_install",
    "test_upgrade",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    order = {name: place for place, name in enumerate((*REHEARSING, *LONG))}
    items.sort(key=lambda item: order.get(item.path.stem, len(order)))


class ByFile(LoadScopeScheduling):
    """Scheduler that keeps the tests of a file on one worker, since they share module-scoped fixtures."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.split("::", 1)[0]
        return "rehearsing" if Path(file).stem in REHEARSING else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFile:
    # A scheduler of our own: the xdist_group of pytest-xdist 3.8 sets the node id in a place that pytest 9.2 moved.
    return ByFile(config, log)


@pytest.fixture(scope="session")
def emulator() -> Iterator[Emulator]:
    """Yield an emulator that starts empty; end it after the session."""
    running = server.start()
    yield running
    running.end()


@pytest.fixture(scope="module")
def account() -> Iterator[Emulator]:
    """Yield an emulator for one test file, with the bundle's bucket: its tests change roles and projects."""
    running = permissions.start()
    yield running
    running.end()


@pytest.fixture(scope="session")
def make_role(emulator: Emulator) -> Callable[..., str]:
    """Return a function that creates a role: make_role(name, service, *actions) returns its ARN.

    The service and the account may assume the role; it allows the actions on every resource.
    """
    iam = emulator.client("iam")

    def make(name: str, service: str, *actions: str) -> str:
        trust = {"Effect": "Allow", "Principal": {"Service": f"{service}.amazonaws.com"}, "Action": "sts:AssumeRole"}
        trust_account = {**trust, "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}}
        document = {"Version": "2012-10-17", "Statement": [trust, trust_account]}
        role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(document))["Role"]["Arn"]
        if actions:
            allowed = {"Effect": "Allow", "Action": list(actions), "Resource": "*"}
            policy = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
            iam.put_role_policy(RoleName=name, PolicyName="all", PolicyDocument=policy)
        return role

    return make


@pytest.fixture(scope="session")
def as_role(emulator: Emulator) -> Callable[[str], dict[str, str]]:
    """Return a function that assumes a role and returns its credentials as arguments of a boto3 client."""

    def assume(role: str) -> dict[str, str]:
        given = emulator.client("sts").assume_role(RoleArn=role, RoleSessionName="test")["Credentials"]
        return {
            "aws_access_key_id": given["AccessKeyId"],
            "aws_secret_access_key": given["SecretAccessKey"],
            "aws_session_token": given["SessionToken"],
        }

    return assume


@pytest.fixture(scope="session")
def bucket(emulator: Emulator) -> str:
    emulator.client("s3").create_bucket(Bucket="tests-111122223333")
    emulator.client("s3").put_bucket_versioning(
        Bucket="tests-111122223333", VersioningConfiguration={"Status": "Enabled"}
    )
    return "tests-111122223333"


def wait_for(look: Callable[[], Any], seconds: float = 30) -> Any:
    """Poll `look()` until it returns something truthy, and return that.

    Raises AssertionError after `seconds`.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(0.05)
    raise AssertionError(f"nothing seen in {seconds} s")


def make(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    """Run `make` in this repository, without the variables of a make that runs the tests."""
    clean = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    return subprocess.run(
        ["make", *arguments], cwd=ROOT, env=clean | environment, capture_output=True, text=True, check=False
    )


def rehearse(**environment: str) -> subprocess.CompletedProcess:
    """Run the command behind `make rehearse`, with these environment variables."""
    return subprocess.run(
        [sys.executable, "-m", "rehearsal", "play"],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def networks_are_permitted() -> bool:
    """Return whether this user may create network namespaces, as root or in a user namespace."""
    tried = [["unshare", "--net", "true"], ["unshare", "--map-root-user", "--net", "true"]]
    return any(subprocess.run(command, capture_output=True, check=False).returncode == 0 for command in tried)
