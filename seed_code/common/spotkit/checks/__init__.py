"""Find what AWS would reject in a pipeline definition, and mistakes that would cost money before they fail.

    python -m spotkit.checks pipeline.json

The same code checks a definition in three places: in the build before the upload, in the Lambda function that starts
the pipeline, and in this bundle's tests. The function also passes a Project, so that the use of anything outside that
project is a problem too.
"""

from typing import Any

from spotkit.checks import graph, parameters, policy, rules, shape, types  # noqa: F401  (each registers its rules)
from spotkit.checks.definition import Definition
from spotkit.checks.problems import Problem
from spotkit.checks.project import Project
from spotkit.checks.reading import read
from spotkit.checks.rulebook import RULES, Rule, silenced
from spotkit.checks.service import Service

__all__ = ["RULES", "Problem", "Project", "Rule", "Service", "check", "read", "refuse"]


def check(definition: Any, project: Project | None = None, service: Service | None = None) -> list[Problem]:
    """Return all problems of a definition, sorted by step; an empty list if it may run.

    If the shape is invalid, return only shape errors: the rules need a valid shape. Rules that the definition's metadata
    silences are left out, unless they are on what a project owns.
    """
    if problems := shape.check(definition):
        return problems
    checked = Definition(definition, service or Service.load())
    silent, problems = silenced(definition.get("Metadata"))
    for each in RULES.values():
        if each.of_project and project:
            problems += each.problems(checked, project)
        elif not each.of_project and each.id not in silent:
            problems += each.problems(checked)
    # dict.fromkeys drops duplicates, and sorted is stable: by step, then by rule.
    return sorted(dict.fromkeys(problems), key=lambda problem: checked.order(problem.step))


def refuse(definition: Any, project: Project | None = None, service: Service | None = None) -> None:
    """Raise ValueError with the problems of a definition (the first 20 and a count), if it has any."""
    if problems := check(definition, project, service):
        lines = "".join(f"\n  {problem}{problem.rule and f' [{problem.rule}]'}" for problem in problems[:20])
        more = f"\n  and {len(problems) - 20} more" if len(problems) > 20 else ""
        count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
        raise ValueError(f"the pipeline definition has {count}:{lines}{more}")
