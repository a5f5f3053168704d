"""The problems that the checks report."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """One mistake: the step it is in ("" if outside the steps), the path in that step, what is wrong and what to do."""

    step: str
    path: str
    what: str

    def __str__(self) -> str:
        where = ", ".join(part for part in (self.step and f"step {self.step}", self.path) if part)
        return f"{where}: {self.what}" if where else self.what


def quoted(value: object, most: int = 80) -> str:
    """Return the repr of a value for a message, cut after `most` characters."""
    text = repr(value)
    return text if len(text) <= most else f"{text[:most]}... ({len(text)} characters)"
