"""Types for an installation: what was requested, what was checked, and what is to be done in the account."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Request:
    """What a platform engineer requests. Empty values mean: as installed, or the default.

    `parameters` are new values for the parameters of the projects that are updated.
    """

    bucket: str = ""
    studio_role: str = ""
    s3_route: bool = False
    instance_type: str = "ml.g4dn.xlarge"
    projects: tuple[str, ...] = ()
    parameters: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Check:
    """The result of one check: passed (True), failed (False) or undecided (None); `what` says why, or what to do."""

    name: str
    fit: bool | None
    what: str

    def __str__(self) -> str:
        return f"{ {True: 'ok', False: 'NO', None: '? '}[self.fit] } {self.name:<28} {self.what}"


@dataclass(frozen=True)
class Action:
    """One change to make: its description and the function that does it."""

    what: str
    do: Callable[[], Any]


def carry_out(actions: list[Action], dry_run: bool, say: Callable[[str], None]) -> int:
    """Report each action and, unless it is a dry run, do it; return the number of actions."""
    for action in actions:
        say(f"{'would ' if dry_run else ''}{action.what}")
        if not dry_run:
            action.do()
    return len(actions)
