"""The played AWS, real and small: one for all tests that need an API, and what a test needs to use it."""

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
from rehearsal.server import ACCOUNT, PlayedAws

for _name in [name for name in os.environ if name.startswith("GIT_")]:
    del os.environ[_name]  # a git hook sets GIT_DIR, and these tests run git in other repositories

ROOT = Path(__file__).parent.parent
SHARED = ROOT.parent / "shared/data"


# Rehearsals of a checkout know of each other, so one worker has them all.
REHEARSING = ("test_rehearsal", "test_kept", "test_ends", "test_bad_input")
# What takes long comes first, so that both workers end at about the same time.
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
    """The tests of a file on one worker: they share what is made once."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.split("::", 1)[0]
        return "rehearsing" if Path(file).stem in REHEARSING else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFile:
    # pytest-xdist 3.8's own groups need a node's id in a place where pytest 9.2 has it no more.
    return ByFile(config, log)


@pytest.fixture(scope="session")
def played() -> Iterator[PlayedAws]:
    """The played AWS with nothing in it."""
    running = server.start()
    yield running
    running.end()


@pytest.fixture(scope="module")
def account() -> Iterator[PlayedAws]:
    """A played account of a file's own, with the bundle's bucket: roles and projects are changed in it."""
    running = permissions.start()
    yield running
    running.end()


@pytest.fixture(scope="session")
def make_role(played: PlayedAws) -> Callable[..., str]:
    """Makes a role that a service may assume and that may do the given actions on anything."""
    iam = played.client("iam")

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
def as_role(played: PlayedAws) -> Callable[[str], dict[str, str]]:
    """Credentials of a role."""

    def assume(role: str) -> dict[str, str]:
        given = played.client("sts").assume_role(RoleArn=role, RoleSessionName="test")["Credentials"]
        return {
            "aws_access_key_id": given["AccessKeyId"],
            "aws_secret_access_key": given["SecretAccessKey"],
            "aws_session_token": given["SessionToken"],
        }

    return assume


@pytest.fixture(scope="session")
def bucket(played: PlayedAws) -> str:
    played.client("s3").create_bucket(Bucket="tests-111122223333")
    played.client("s3").put_bucket_versioning(
        Bucket="tests-111122223333", VersioningConfiguration={"Status": "Enabled"}
    )
    return "tests-111122223333"


def wait_for(look: Callable[[], Any], seconds: float = 30) -> Any:
    """Look until there is something to see."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(0.05)
    raise AssertionError(f"nothing seen in {seconds} s")


def make(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    """Run `make` in this repository, as a person would."""
    clean = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    return subprocess.run(
        ["make", *arguments], cwd=ROOT, env=clean | environment, capture_output=True, text=True, check=False
    )


def rehearse(**environment: str) -> subprocess.CompletedProcess:
    """Run what `make rehearse` runs, with its variables."""
    return subprocess.run(
        [sys.executable, "-m", "rehearsal", "play"],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def networks_are_permitted() -> bool:
    """Whether the kernel gives network namespaces here."""
    tried = [["unshare", "--net", "true"], ["unshare", "--map-root-user", "--net", "true"]]
    return any(subprocess.run(command, capture_output=True, check=False).returncode == 0 for command in tried)
