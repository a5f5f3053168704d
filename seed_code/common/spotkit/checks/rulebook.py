"""The rules that a definition is checked by: each is one function, which registers itself here with its id.

A team can silence a rule with a reason, in `pyproject.toml`, from where pipeline.py copies it into the definition's
metadata:

    [tool.spotkit.silenced]
    images = "our registry is a mirror"

Rules on what a project owns cannot be silenced.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from spotkit.checks.definition import Definition
from spotkit.checks.problems import Problem, quoted

AWS = "docs.aws.amazon.com/sagemaker/latest/"
Find = Callable[..., Iterable[Problem]]


@dataclass(frozen=True)
class Rule:
    """A rule: `sentence` says what has to hold, and `source` where that is written."""

    id: str
    sentence: str
    source: str
    find: Find
    on: Callable[[Definition], Iterable[Any]]
    of_project: bool

    def problems(self, definition: Definition, *project: Any) -> Iterator[Problem]:
        """Yield what breaks the rule, with the rule's id; of_project, `project` is the Project."""
        for arguments in self.on(definition):
            for problem in self.find(*arguments, *project):
                yield replace(problem, rule=self.id)


RULES: dict[str, Rule] = {}


def whole(definition: Definition) -> Iterator[tuple[Any, ...]]:
    """Yield the arguments of a rule on the definition itself."""
    yield (definition,)


def each_step(definition: Definition) -> Iterator[tuple[Any, ...]]:
    """Yield the arguments of a rule on a step, for each step."""
    for step in definition.steps:
        yield (step,)


def rule(
    name: str, sentence: str, source: str, on: Callable[[Definition], Iterable[Any]] = whole, of_project: bool = False
) -> Callable[[Find], Find]:
    """Register a function that yields Problems, called with what `on` yields, and with the Project if `of_project`."""

    def register(find: Find) -> Find:
        assert name not in RULES, f"two rules are called {name}"
        RULES[name] = Rule(name, sentence, source, find, on, of_project)
        return find

    return register


def silenced(metadata: Any) -> tuple[set[str], list[Problem]]:
    """Return the ids of the rules that a definition's metadata silences, and what is wrong with that."""
    given = metadata.get("silenced", {}) if isinstance(metadata, dict) else {}
    if not isinstance(given, dict):
        return set(), [Problem("", "Metadata.silenced", f"{quoted(given)} is no object of rules with reasons.")]
    known = [rule.id for rule in RULES.values() if not rule.of_project]
    problems = []
    for name, reason in given.items():
        where = f"Metadata.silenced.{name}"
        if name not in known:
            problems.append(Problem("", where, f"no rule that can be silenced has this id: {', '.join(known)}."))
        elif not isinstance(reason, str) or not reason.strip():
            problems.append(Problem("", where, f"{quoted(reason)} is no reason. Say why the rule does not hold here."))
    return {name for name in given if name in known}, problems
