"""Loopback ports and git options. Both the scenario and the emulator, which have separate environments, import this."""

import shlex
import socket
from pathlib import Path

HELPER = Path(__file__).with_name("git_credentials.py")


def free_port() -> int:
    """Return a port of the loopback interface on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def git_credentials(python: Path) -> list[str]:
    """Return the git options that get CodeCommit credentials from our helper. `python` must have botocore installed."""
    helper = f"!{shlex.quote(str(python))} {shlex.quote(str(HELPER))}"
    # The empty value clears the list of helpers: git would ask the user's own before ours.
    return ["-c", "credential.helper=", "-c", f"credential.helper={helper}", "-c", "credential.UseHttpPath=true"]
