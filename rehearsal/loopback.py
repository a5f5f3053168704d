"""What both sides of the play need of this machine: the story in one environment, the played AWS in another."""

import shlex
import socket
from pathlib import Path

HELPER = Path(__file__).with_name("git_credentials.py")


def free_port() -> int:
    """A port of the loopback interface that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def git_credentials(python: Path) -> list[str]:
    """The options by which git asks our helper, run by a Python with botocore, for CodeCommit's credentials."""
    helper = f"!{shlex.quote(str(python))} {shlex.quote(str(HELPER))}"
    # The first, empty one drops the helpers of the user, which would be asked before ours.
    return ["-c", "credential.helper=", "-c", f"credential.helper={helper}", "-c", "credential.UseHttpPath=true"]
