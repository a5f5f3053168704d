"""What both sides of the play need of this machine: the story in one environment, the played AWS in another."""

import shlex
import socket
from pathlib import Path


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
