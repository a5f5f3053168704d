"""The graph of a definition: every step once, nothing waits for itself, and no branch is used from outside of it."""

from collections import Counter
from collections.abc import Iterator

from checks.definition import Definition, Step, references, shown, split
from checks.problems import Problem, told


def check(definition: Definition) -> list[Problem]:
    """Steps that stand twice, depend on what is not there or cannot have run, or wait for themselves."""
    return [*repeated(definition), *misplaced(definition), *cycles(definition)]


def repeated(definition: Definition) -> list[Problem]:
    """Names that several steps have."""
    counts = Counter(step.name for step in definition.steps)
    problems = [*like_iterations(definition)]
    for name in (name for name, count in counts.items() if count > 1):
        places = {step.branches for step in definition.steps if step.name == name}
        where = "in the list and in a branch" if len(places) > 1 and () in places else f"{counts[name]} times"
        problems.append(Problem(name, "", f"a step of this name stands {where}. Names are given once in a pipeline."))
    return problems


def like_iterations(definition: Definition) -> Iterator[Problem]:
    """Find names that a ForEach step gives to the runs of its body: <step>-<number>, as the SDK's ForEachStep says."""
    bodies = {step.name for step in definition.steps if any(branch == "ForEachBody" for _, branch in step.branches)}
    for step in definition.steps:
        base, _, number = step.name.rpartition("-")
        if number.isdigit() and base in bodies:
            yield Problem(step.name, "Name", f"a run of {base} for an item has this name. Choose another.")


def needed(step: Step) -> dict[str, str]:
    """The steps that a step waits for, and where it says so."""
    found = {name: f"DependsOn[{place}]" for place, name in enumerate(step.depends_on)}
    for place, source in enumerate(step.arguments["Resources"]["S3"] if step.type == "Cleanup" else []):
        found.setdefault(source["StepName"], f"Arguments.Resources.S3[{place}].StepName")
    for path, reference in references(step.own):
        if (parts := split(reference)) and parts[0] == "Steps":
            found.setdefault(parts[1], shown(path))
    return found


def misplaced(definition: Definition) -> list[Problem]:
    """Dependencies on no step, on the end of the run, and on what another branch may or may not have run."""
    problems = []
    for step in definition.steps:
        for name, where in needed(step).items():
            other = definition.step_of.get(name)
            if other is None:
                if where.startswith("DependsOn") or where.endswith(
                    "StepName"
                ):  # other references are told of by their types
                    there = ", ".join(list(definition.step_of)[:10])
                    problems.append(Problem(step.name, where, f"there is no step {told(name)}; there is {there}."))
            elif other.type == "Fail":
                problems.append(Problem(step.name, where, f"{name} ends the run; nothing comes after it."))
            elif step.branches[: len(other.branches)] != other.branches:
                problems.append(Problem(step.name, where, unreachable(other)))
    return problems


def unreachable(step: Step) -> str:
    """Say why a step inside of another one cannot be referred to from outside."""
    holder, branch = step.branches[-1]
    if branch == "ForEachBody":
        return f"{step.name} runs once for each item of {holder}. Write Steps.{holder}.IterationOutputs[0].{step.name}."
    return f"{step.name} stands in {branch} of {holder}, and may never run. Move this step into that branch."


def cycles(definition: Definition) -> list[Problem]:
    """Steps that wait for themselves. What stands in a branch waits for its condition."""
    waits = {
        step.name: [*needed(step), *(condition for condition, _ in step.branches[-1:])] for step in definition.steps
    }
    waits = {name: [other for other in others if other in waits] for name, others in waits.items()}
    done: set[str] = set()
    problems = []
    for start in waits:
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
                circle = [*way[way.index(following) :], following]
                problems.append(
                    Problem(following, "", f"it waits for itself: {' -> '.join(circle)}. Break the circle.")
                )
                done |= on_way  # one knot is told of once
                pending = []
            else:
                way.append(following)
                on_way.add(following)
                pending.append((following, iter(waits[following])))
    return problems
