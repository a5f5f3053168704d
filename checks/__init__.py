"""What AWS would refuse in a pipeline definition, or what would cost money before it failed.

    python -m checks pipeline.json

The same code checks a definition in three places: before it leaves the build, in the function that runs it, and in this
bundle's tests. In the function a Project is given as well, and what is not the project's own is refused too.
"""

from typing import Any

from checks import graph, parameters, policy, rules, shape, types
from checks.definition import Definition
from checks.policy import Project
from checks.problems import Problem
from checks.reading import read
from checks.service import Service

__all__ = ["Problem", "Project", "Service", "check", "read", "refuse"]


def check(definition: Any, project: Project | None = None, service: Service | None = None) -> list[Problem]:
    """Everything that is wrong with a definition, in the order of its steps; nothing when it is fit to run.

    What has not the shape of a definition is told alone, since the rest cannot be looked at.
    """
    if problems := shape.check(definition):
        return problems
    checked = Definition(definition, service or Service.load())
    problems = [
        *parameters.check(checked),
        *graph.check(checked),
        *types.check(checked),
        *rules.check(checked),
    ]
    if project:
        problems += policy.check(checked, project)
    # In the order of the steps, and of the checks: the same every time.
    return sorted(dict.fromkeys(problems), key=lambda problem: checked.order(problem.step))


def refuse(definition: Any, project: Project | None = None, service: Service | None = None) -> None:
    """Raise ValueError with everything that is wrong with a definition."""
    if problems := check(definition, project, service):
        shown = "".join(f"\n  {problem}" for problem in problems[:20])
        more = f"\n  and {len(problems) - 20} more" if len(problems) > 20 else ""
        count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
        raise ValueError(f"the pipeline definition has {count}:{shown}{more}")
