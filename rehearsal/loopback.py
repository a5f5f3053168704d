"""What both sides of the play need of this machine: the story in one environment, the played AWS in another."""

import os
import shlex
import socket
from pathlib import Path

LOOPBACK = ("127.0.0.1", "localhost")


def surroundings(environment: dict[str, str]) -> dict[str, str]:
    """Return the variables of a user without those that would lead git or AWS calls elsewhere.

    Those are GIT_DIR and the like inside a git hook, everything of AWS's SDKs with the profiles in the user's files, and
    a proxy for the loopback interface: NO_PROXY keeps what it has.
    """
    kept = {name: value for name, value in environment.items() if not name.startswith(("AWS_", "GIT_"))}
    excluded = kept.get("NO_PROXY") or kept.get("no_proxy") or ""
    hosts = ",".join(dict.fromkeys([*filter(None, excluded.split(",")), *LOOPBACK]))
    nowhere = dict.fromkeys(("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"), os.devnull)
    return {**kept, **nowhere, "AWS_EC2_METADATA_DISABLED": "true", "NO_PROXY": hosts, "no_proxy": hosts}


def free_port() -> int:
    """A port of the loopback interface that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def git_credentials(python: str) -> list[str]:
    """Return the options by which git gets CodeCommit's credentials from our own helper, run by this Python."""
    helper = f"!{shlex.quote(python)} {shlex.quote(str(Path(__file__).parent / 'git_credentials.py'))}"
    # An empty one first: the helpers of whoever uses this machine have nothing to do with it.
    return ["-c", "credential.helper=", "-c", f"credential.helper={helper}", "-c", "credential.UseHttpPath=true"]
