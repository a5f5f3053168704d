"""What a check found, and where."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """One mistake: the step it is in ("" for none), the path there, what is wrong with its value and what to do."""

    step: str
    path: str
    what: str

    def __str__(self) -> str:
        where = ", ".join(part for part in (self.step and f"step {self.step}", self.path) if part)
        return f"{where}: {self.what}" if where else self.what


def told(value: object, most: int = 80) -> str:
    """A value as it is shown in a message, cut where it is long."""
    text = repr(value)
    return text if len(text) <= most else f"{text[:most]}... ({len(text)} characters)"
