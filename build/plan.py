"""What is asked for, what is looked at, and what is to be done in an account."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Wish:
    """What a platform engineer asks for. What is left empty is as it was installed, or the default.

    `parameters` are values for the projects that are updated.
    """

    bucket: str = ""
    studio_role: str = ""
    s3_route: bool = False
    instance_type: str = "ml.g4dn.xlarge"
    projects: tuple[str, ...] = ()
    parameters: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Check:
    """One thing that was looked at: fit (True), not fit (False), or not to be known (None), and what to do."""

    name: str
    fit: bool | None
    what: str

    def __str__(self) -> str:
        return f"{ {True: 'ok', False: 'NO', None: '? '}[self.fit] } {self.name:<28} {self.what}"


@dataclass(frozen=True)
class Action:
    """One thing to do, in words, and how."""

    what: str
    do: Callable[[], Any]


def carry_out(actions: list[Action], dry_run: bool, say: Callable[[str], None]) -> int:
    for action in actions:
        say(f"{'would ' if dry_run else ''}{action.what}")
        if not dry_run:
            action.do()
    return len(actions)
