"""The problems that the checks report."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Problem:
    """One mistake: the step it is in ("" if outside the steps), the path in that step, what is wrong and what to do.

    `rule` is the id of the rule that it breaks.
    """

    step: str
    path: str
    what: str
    rule: str = field(default="", compare=False)

    def __str__(self) -> str:
        where = ", ".join(part for part in (self.step and f"step {self.step}", self.path) if part)
        return f"{where}: {self.what}" if where else self.what


def quoted(value: object, most: int = 80) -> str:
    """Return the repr of a value for a message, cut after `most` characters."""
    text = repr(value)
    return text if len(text) <= most else f"{text[:most]}... ({len(text)} characters)"
