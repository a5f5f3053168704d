"""What both sides of the play need of this machine: the story in one environment, the played AWS in another."""

import shlex
import socket
from pathlib import Path


def free_port() -> int:
    """A port of the loopback interface that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def git_credentials(aws: Path) -> list[str]:
    """The options by which git asks the AWS CLI for CodeCommit's credentials, on whatever host."""
    # Only `get` knows the option, and there is nothing to store or erase.
    command = f"{shlex.quote(str(aws))} codecommit credential-helper --ignore-host-check get"
    helper = f'!f() {{ test "$1" = get && {command}; }}; f'
    return ["-c", f"credential.helper={helper}", "-c", "credential.UseHttpPath=true"]
