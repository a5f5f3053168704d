"""Check the graph of a definition: unique names, no cycles, and no dependency on a step inside another branch."""

from collections import Counter
from collections.abc import Iterator

from spotkit.checks.definition import Definition, Step, dotted, references, split
from spotkit.checks.problems import Problem, quoted
from spotkit.checks.rulebook import AWS, rule

STEPS = f"{AWS}dg/build-and-manage-steps.html"


@rule("step-names", "Names of steps are unique, also among the iterations of a ForEach step.", STEPS)
def repeated(definition: Definition) -> list[Problem]:
    """Return problems with names that several steps have or that clash with a ForEach iteration's."""
    counts = Counter(step.name for step in definition.steps)
    problems = [*like_iterations(definition)]
    for name in (name for name, count in counts.items() if count > 1):
        places = {step.branches for step in definition.steps if step.name == name}
        mixed = len(places) > 1 and () in places
        where = "in the list and in a branch" if mixed else f"{counts[name]} times"
        problems.append(Problem(name, "", f"the name is used {where}. Names must be unique in a pipeline."))
    return problems


def like_iterations(definition: Definition) -> Iterator[Problem]:
    """Yield problems with names that ForEach gives to iterations: <step>-<number>, as the SDK's ForEachStep says."""
    bodies = {step.name for step in definition.steps if any(branch == "ForEachBody" for _, branch in step.branches)}
    for step in definition.steps:
        base, _, number = step.name.rpartition("-")
        if number.isdigit() and base in bodies:
            yield Problem(step.name, "Name", f"a run of {base} for an item has this name. Choose another.")


def needed(step: Step) -> dict[str, str]:
    """Return the steps that a step waits for: {name: path in the step that refers to it}."""
    found = {name: f"DependsOn[{place}]" for place, name in enumerate(step.depends_on)}
    for place, source in enumerate(step.arguments["Resources"]["S3"] if step.type == "Cleanup" else []):
        found.setdefault(source["StepName"], f"Arguments.Resources.S3[{place}].StepName")
    for path, reference in references(step.own):
        if (parts := split(reference)) and parts[0] == "Steps":
            found.setdefault(parts[1], dotted(path))
    return found


@rule("dependencies", "A step waits only for steps that are there and that run before it.", STEPS)
def misplaced(definition: Definition) -> list[Problem]:
    """Return problems with dependencies on missing steps, on Fail steps, and on steps inside another branch."""
    problems = []
    for step in definition.steps:
        for name, where in needed(step).items():
            other = definition.step_of.get(name)
            if other is None:
                if where.startswith("DependsOn") or where.endswith(
                    "StepName"
                ):  # checks.types reports the other references
                    there = ", ".join(list(definition.step_of)[:10])
                    problems.append(Problem(step.name, where, f"there is no step {quoted(name)}; there is {there}."))
            elif other.type == "Fail":
                problems.append(Problem(step.name, where, f"{name} ends the run; nothing comes after it."))
            # A step may use only steps in its own list or in the lists around it.
            elif step.branches[: len(other.branches)] != other.branches:
                problems.append(Problem(step.name, where, unreachable(other)))
    return problems


def unreachable(step: Step) -> str:
    """Return the message that says why a nested step cannot be referred to from outside its branch."""
    holder, branch = step.branches[-1]
    if branch == "ForEachBody":
        return f"{step.name} runs once for each item of {holder}. Write Steps.{holder}.IterationOutputs[0].{step.name}."
    return f"{step.name} stands in {branch} of {holder}, and may never run. Move this step into that branch."


@rule("cycles", "No step waits for itself.", f"{AWS}dg/pipelines-sdk.html")
def cycles(definition: Definition) -> list[Problem]:
    """Return a problem for each cycle of dependencies.

    Depth-first search with a stack of its own, so that a long chain of steps does not reach Python's recursion limit.
    """
    # A nested step also waits for the step that holds it.
    waits = {
        step.name: [*needed(step), *(condition for condition, _ in step.branches[-1:])] for step in definition.steps
    }
    waits = {name: [other for other in others if other in waits] for name, others in waits.items()}
    done: set[str] = set()
    problems = []
    for start in waits:
        # The path from `start` to the current step, as a list, and as a set to look names up in.
        way: list[str] = []
        on_way: set[str] = set()
        pending = [(start, iter(waits[start]))] if start not in done else []
        if pending:
            way.append(start)
            on_way.add(start)
        while pending:
            name, others = pending[-1]
            following = next((other for other in others if other not in done), None)
            if following is None:
                pending.pop()
                done.add(way.pop())
                on_way.discard(name)
            elif following in on_way:
                cycle = [*way[way.index(following) :], following]
                problems.append(Problem(following, "", f"it waits for itself: {' -> '.join(cycle)}. Break the cycle."))
                done |= on_way  # report entangled cycles only once
                pending = []
            else:
                way.append(following)
                on_way.add(following)
                pending.append((following, iter(waits[following])))
    return problems
