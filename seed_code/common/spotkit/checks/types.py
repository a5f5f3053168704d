"""Check the types of a definition: arguments against the API request, references against the step they refer to."""

import difflib
import re
from typing import Any

from spotkit.checks.definition import Definition, Path, Step, dotted, entries, is_function, split
from spotkit.checks.parameters import type_of as parameter_type
from spotkit.checks.problems import Problem, quoted
from spotkit.checks.rulebook import rule
from spotkit.checks.service import Shape, pattern_of

# An example of each execution variable, to validate against the shape of the place that uses it. Sources:
# docs.aws.amazon.com/sagemaker/latest/dg/build-and-manage-variables.html and the SDK's ExecutionVariables.
ARN = "arn:aws:sagemaker:us-east-1:111122223333:pipeline/name"
EXECUTION = {
    "StartDateTime": "2026-01-01T00:00:00.000Z",
    "CurrentDateTime": "2026-01-01T00:00:00.000Z",
    "PipelineName": "name",
    "PipelineArn": ARN,
    "PipelineExecutionId": "abcdefghijkl",
    "PipelineExecutionArn": f"{ARN}/execution/abcdefghijkl",
    "TrainingJobName": "pipelines-abcdefghijkl-Train-abcdefghij",
    "ProcessingJobName": "pipelines-abcdefghijkl-Preprocess-abcdefghij",
}
TEXT: Shape = {"type": "string"}
ANYTHING: Shape = {"type": "anything"}
PARAMETER_TYPES = {"String": "string", "Integer": "integer", "Float": "double", "Boolean": "boolean"}
SCALARS = ("string", "integer", "long", "float", "double", "boolean", "timestamp", "blob")
# Types that accept a value of each type without a conversion to text or a loss.
FITS = {
    "string": ("string", "timestamp", "blob"),
    "timestamp": ("string", "timestamp"),
    "integer": ("integer", "long", "float", "double"),
    "long": ("integer", "long", "float", "double"),
    "float": ("float", "double"),
    "double": ("float", "double"),
    "boolean": ("boolean",),
}
PYTHON = {"string": str, "timestamp": str, "blob": str, "boolean": bool, "structure": dict, "map": dict, "list": list}
CALLED = {"string": "text", "integer": "a whole number", "long": "a whole number", "float": "a number"}
CALLED |= {"double": "a number", "boolean": "true or false", "structure": "an object", "map": "an object"}
CALLED |= {"list": "a list", "timestamp": "a time", "blob": "text"}
MEMBER = re.compile(r"\.([A-Za-z0-9_]+)|\[(\d+)\]|\[(?:'([^']+)'|\"([^\"]+)\")\]")
# Properties of a finished ForEach step, by the docs of the SDK's ForEachStep.
FOR_EACH_RESULTS: dict[str, Shape] = {"Status": TEXT} | dict.fromkeys(
    ("InputItemCount", "TotalStepCount", "SucceededStepCount", "FailedStepCount", "StoppedStepCount"),
    {"type": "integer"},
)
ITERATION = re.compile(r"\.IterationOutputs\[\d+\]\.(?P<step>[A-Za-z0-9_-]+)(?P<rest>[.\[].+)", re.DOTALL)
S3_MEMBER = re.compile(r"(S3Uri|S3OutputPath|ModelDataUrl|S3OutputUri)$")
S3_ADDRESS = re.compile(r"(s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/.*)?|https://.+)", re.DOTALL)
UNKNOWN = "\N{REPLACEMENT CHARACTER}"  # placeholder for what is known only at run time


class Wrong(ValueError):
    """A type error in a value. The caller, which knows the path, turns it into a Problem."""


@rule(
    "types",
    "Arguments are the API's request, and each reference is to a member of that type.",
    "botocore's service model of SageMaker, in service.json",
)
def check(definition: Definition) -> list[Problem]:
    """Return problems with arguments that do not fit their API request, and with references that fail or do not fit."""
    return Types(definition).check()


class Types:
    """A walk through the arguments of every step that collects problems.

    `self.step` is the step being checked. Methods that take a `path` add problems; those that resolve references raise
    Wrong.
    """

    def __init__(self, definition: Definition):
        self.definition = definition
        self.shapes = definition.service.shapes
        self.problems: list[Problem] = []

    def check(self) -> list[Problem]:
        for step in self.definition.steps:
            self.step = step
            self.outside_of_arguments(step)
            if request := self.definition.service.requests.get(step.type):
                self.value(step.arguments, request, ("Arguments",))
            elif step.type == "Condition":
                for place, condition in enumerate(step.arguments["Conditions"]):
                    self.condition(condition, ("Arguments", "Conditions", f"[{place}]"))
            elif step.type == "ForEach":
                self.for_each(step)
            elif step.type == "Fail":
                self.text(step.arguments["ErrorMessage"], ("Arguments", "ErrorMessage"))
            else:  # arguments of Lambda functions and queues have no shape: check only their references
                for name, value in step.arguments.items():
                    self.free(value, ("Arguments", name))
        return self.problems

    def for_each(self, step: Step) -> None:
        """Check a ForEach step's items, and its selector, which compares an output of a step of the body."""
        items = step.arguments["IterableItems"]
        for place, item in enumerate(items if isinstance(items, list) else []):
            self.free(item, ("Arguments", "IterableItems", f"[{place}]"))
        if not isinstance(items, list):
            self.text(items, ("Arguments", "IterableItems"))
        if selector := step.arguments.get("Selector"):
            path = ("Arguments", "Selector", "Field")
            try:
                self.property(*self.selected(step, selector["Field"]))
            except Wrong as wrong:
                self.wrong(path, str(wrong))

    def outside_of_arguments(self, step: Step) -> None:
        """Check the members of a step outside its arguments that may be functions."""
        for name, wanted in (
            ("FunctionArn", TEXT), ("SqsQueueUrl", TEXT), ("ModelPackageGroupName", TEXT), ("ModelName", TEXT),
            ("SuppliedBaselineConstraints", TEXT), ("SuppliedBaselineStatistics", TEXT),
            ("SkipCheck", {"type": "boolean"}), ("FailOnViolation", {"type": "boolean"}),
            ("RegisterNewBaseline", {"type": "boolean"}),
        ):  # fmt: skip
            if is_function(value := step.body.get(name)):
                self.function(value, wanted, (name,))
            elif isinstance(value, dict):
                self.wrong((name,), f"{quoted(value)} is neither a value nor a reference.")

    def wrong(self, path: Path, what: str) -> None:
        self.problems.append(Problem(self.step.name, dotted(path), what))

    # --- values against shapes ---------------------------------------------------------------------------------------

    def value(self, value: Any, name: str, path: Path) -> None:
        """Check a value against the shape called `name`."""
        shape = self.shapes[name]
        if is_function(value):
            self.function(value, shape, path)
            return
        kind = shape["type"]
        if kind in ("structure", "map", "list"):
            if not isinstance(value, PYTHON[kind]):
                self.wrong(path, f"{quoted(value)} is not {CALLED[kind]}.")
            else:
                getattr(self, f"in_{kind}")(value, shape, path)
        elif problem := literal_problem(value, shape):
            self.wrong(path, problem)
        elif S3_MEMBER.search(path[-1]) and value != "" and not S3_ADDRESS.fullmatch(str(value)):
            self.wrong(path, f"{quoted(value)} is {no_address(str(value))}")

    def in_structure(self, value: dict[str, Any], shape: Shape, path: Path) -> None:
        members = shape["members"]
        for name, inner in value.items():
            if name in members:
                if inner is None:
                    self.wrong((*path, name), "it is null. Leave it out.")
                else:
                    self.value(inner, members[name], (*path, name))
            else:
                near = difflib.get_close_matches(name, members, 1)
                self.wrong((*path, name), f"the request has no such member.{f' Is it {near[0]}?' if near else ''}")
        if missing := [name for name in shape.get("required", []) if name not in value]:
            self.wrong(path, f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing.")
        if shape.get("union") and len(value) != 1:
            self.wrong(path, f"it has {len(value)} members; exactly one of {', '.join(members)} is allowed.")

    def in_list(self, value: list[Any], shape: Shape, path: Path) -> None:
        self.size(len(value), "entries", shape, path)
        for place, inner in enumerate(value):
            self.value(inner, shape["member"], (*path, f"[{place}]"))

    def in_map(self, value: dict[str, Any], shape: Shape, path: Path) -> None:
        self.size(len(value), "entries", shape, path)
        for name, inner in value.items():
            if problem := literal_problem(name, self.shapes[shape["key"]]):
                self.wrong((*path, name), f"the name {problem}")
            self.value(inner, shape["value"], (*path, name))

    def size(self, number: int, what: str, shape: Shape, path: Path) -> None:
        if problem := size_problem(number, what, shape):
            self.wrong(path, problem)

    def text(self, value: Any, path: Path) -> None:
        """Check that a value is a string, or a function whose result can be used as one."""
        if is_function(value):
            self.function(value, TEXT, path)
        elif not isinstance(value, str):
            self.wrong(path, f"{quoted(value)} is not text.")

    def free(self, value: Any, path: Path) -> None:
        """Check only the references of a value that may have any type."""
        if is_function(value):
            self.function(value, ANYTHING, path)
        elif isinstance(value, dict):
            for name, inner in value.items():
                self.free(inner, (*path, name))
        elif isinstance(value, list):
            for place, inner in enumerate(value):
                self.free(inner, (*path, f"[{place}]"))

    # --- functions, which are resolved when the pipeline runs --------------------------------------------------------

    def function(self, value: dict[str, Any], wanted: Shape, path: Path) -> None:
        """Check a Get, Std:Join or Std:JsonGet against the shape of the place that uses it."""
        try:
            found = self.type_of(value)
            require_fit(found, wanted, value)
            for text in self.possible(value):
                if S3_MEMBER.search(path[-1]) and not S3_ADDRESS.fullmatch(self.sample(value, text)):
                    raise Wrong(f"{self.described(value)} is {quoted(text)}, {no_address(self.sample(value, text))}")
                known = UNKNOWN not in str(text) and wanted["type"] in SCALARS
                if known and (problem := literal_problem(text, wanted)):
                    raise Wrong(f"{self.described(value)}: {problem}")
        except Wrong as wrong:
            self.wrong(path, str(wrong))

    def type_of(self, value: Any) -> Shape:
        """Return the shape of a scalar or function. Raises Wrong for other values and for references to nothing."""
        if not is_function(value):
            if isinstance(value, bool):
                return {"type": "boolean"}
            if isinstance(value, (int, float)):
                return {"type": "integer" if isinstance(value, int) else "double"}
            if isinstance(value, str):
                return TEXT
            raise Wrong(f"{quoted(value)} is neither a value nor a reference.")
        ((function, given),) = value.items()
        if function == "Get":
            return self.referred(given)
        return self.joined(given) if function == "Std:Join" else self.looked_up(given)

    def joined(self, given: Any) -> Shape:
        """Return the shape of a Std:Join, {"On": separator, "Values": [...]}. Raises Wrong if it is not valid."""
        if not isinstance(given, dict) or set(given) != {"On", "Values"}:
            raise Wrong(f"Std:Join takes On and Values, not {quoted(given)}.")
        if not isinstance(given["On"], str) or not isinstance(given["Values"], list) or not given["Values"]:
            raise Wrong(f"Std:Join takes text as On and a list as Values, not {quoted(given)}.")
        for part in given["Values"]:
            if self.type_of(part)["type"] not in (*SCALARS, "anything"):
                raise Wrong(f"Std:Join cannot write {self.described(part)} as text.")
        return TEXT

    def looked_up(self, given: Any) -> Shape:
        """Return the shape of a Std:JsonGet, a value out of a JSON file. Raises Wrong if it is not valid.

        It is {"PropertyFile": {"Get": ...}, "Path": path} or {"S3Uri": ..., "Path": path}.
        """
        if not isinstance(given, dict) or set(given) not in ({"PropertyFile", "Path"}, {"S3Uri", "Path"}):
            raise Wrong(f"Std:JsonGet takes Path and either PropertyFile or S3Uri, not {quoted(given)}.")
        if not isinstance(given["Path"], str) or not given["Path"]:
            raise Wrong(f"Std:JsonGet takes the path of a value, as in metrics.accuracy, not {quoted(given['Path'])}.")
        if "S3Uri" in given:
            self.type_of(given["S3Uri"])
            return ANYTHING
        file = given["PropertyFile"]
        if not is_function(file) or not isinstance(file.get("Get"), str):
            raise Wrong(f'PropertyFile takes {{"Get": "Steps.<step>.PropertyFiles.<name>"}}, not {quoted(file)}.')
        kind, name, rest = split(file["Get"]) or ("", "", "")
        if kind != "Steps" or not rest.startswith(".PropertyFiles."):
            raise Wrong(f"{quoted(file['Get'])} is no property file. Write Steps.<step>.PropertyFiles.<name>.")
        declared = {entry["PropertyFileName"]: entry for entry in self.source(name).body.get("PropertyFiles", [])}
        if rest.removeprefix(".PropertyFiles.") not in declared:
            raise Wrong(f"step {name} has no property file {rest.removeprefix('.PropertyFiles.')}{listed(declared)}.")
        return ANYTHING

    def referred(self, reference: Any) -> Shape:
        """Return the shape of {"Get": reference}. Raises Wrong if it refers to nothing."""
        kind, name, rest = (split(reference) if isinstance(reference, str) else None) or ("", "", "")
        if kind == "Parameters" and not rest:
            if name not in self.definition.parameter_of:
                raise Wrong(f"there is no parameter {name}{listed(self.definition.parameter_of)}.")
            return {"type": PARAMETER_TYPES[parameter_type(self.definition.parameter_of[name])]}
        if kind == "Execution" and not rest:
            if name not in EXECUTION:
                raise Wrong(f"an execution has no {name}{listed(EXECUTION)}.")
            return TEXT
        if kind == "Steps" and rest:
            return self.property(self.source(name), rest)
        if kind == "ForEach" and name == "CurrentItem":
            if not any(branch == "ForEachBody" for _, branch in self.step.branches):
                raise Wrong("only a step in the ForEachBody of a ForEach step has a current item.")
            return ANYTHING
        raise Wrong(
            f"{quoted(reference)} is no reference. Write Parameters.<name>, Execution.<name> or Steps.<step>.<member>."
        )

    def source(self, name: str) -> Step:
        if name not in self.definition.step_of:
            raise Wrong(f"there is no step {name}{listed(self.definition.step_of)}.")
        return self.definition.step_of[name]

    def property(self, step: Step, rest: str) -> Shape:
        """Return the shape at the path `rest` in a step's results. Raises Wrong if there is none."""
        if step.type in ("Lambda", "Callback"):
            return output_parameter(step, rest)
        if step.type == "ForEach":
            return self.iterations(step, rest)
        if step.type == "Job" and rest.startswith(".JobConfigDocument."):
            return TEXT  # Pipelines parses this JSON document when the step has ended: see the SDK's JobStep
        members = list(MEMBER.finditer(rest))
        if "".join(member.group(0) for member in members) != rest:
            raise Wrong(f"{quoted(rest)} is no path into step {step.name}. Write .Member, [0] or ['name'].")
        roots = [self.shapes[name] for name in self.definition.service.responses.get(step.type, [])]
        if not roots:
            raise Wrong(f"step {step.name} ({step.type}) has nothing to refer to.")
        shape: Shape = {"type": "structure", "members": {k: v for root in roots for k, v in root["members"].items()}}
        walked = f"step {step.name}"
        for member in members:
            shape = self.entered(shape, member, walked, step)
            walked += member.group(0)
        return shape

    def iterations(self, step: Step, rest: str) -> Shape:
        """Return the shape of a ForEach step's counts, of an iteration's output, or of the selected iteration's."""
        if rest.removeprefix(".") in FOR_EACH_RESULTS:
            return FOR_EACH_RESULTS[rest.removeprefix(".")]
        if found := ITERATION.fullmatch(rest):
            return self.property(self.in_body(step, found["step"]), found["rest"])
        if rest.startswith(".Selected.") and (selector := step.arguments.get("Selector")):
            picked, _ = self.selected(step, selector["Field"])
            return self.property(picked, rest.removeprefix(".Selected"))
        raise Wrong(f"step {step.name} has no {quoted(rest)}. Write .IterationOutputs[0].<step of its body>.<member>.")

    def selected(self, step: Step, field: Any) -> tuple[Step, str]:
        """Return the step of the body that a selector compares, and the path into it."""
        reference = field.get("Get") if isinstance(field, dict) else None
        kind, name, rest = (split(reference) if isinstance(reference, str) else None) or ("", "", "")
        if kind != "IterationOutput" or not rest:
            raise Wrong(
                f'{quoted(field)} is no output. Write {{"Get": "IterationOutput.<step of the body>.<member>"}}.'
            )
        return self.in_body(step, name), rest

    def in_body(self, step: Step, name: str) -> Step:
        names = [body["Name"] for body in step.arguments["ForEachBody"]]
        if name not in names:
            raise Wrong(f"the body of step {step.name} has no step {name}{listed(names)}.")
        return self.source(name)

    def entered(self, shape: Shape, member: re.Match[str], walked: str, step: Step) -> Shape:
        """Return the shape one level down: a structure's member, a list's entry by index or name, or a map's value.

        `walked` is the path so far, for messages.
        """
        name, number, key = member.group(1), member.group(2), member.group(3) or member.group(4)
        if shape["type"] == "structure" and (wanted := name or key):
            if wanted not in shape["members"]:
                near = difflib.get_close_matches(wanted, shape["members"], 1)
                raise Wrong(f"{walked} has no {wanted}.{f' Is it {near[0]}?' if near else ''}")
            return self.shapes[shape["members"][wanted]]
        if shape["type"] == "list" and (number or key):
            if key:
                require_own_entry(step, walked, key)
            return self.shapes[shape["member"]]
        if shape["type"] == "map" and (key or name):
            return self.shapes[shape["value"]]
        raise Wrong(f"{walked} is {CALLED.get(shape['type'], 'a value')}, which has no {member.group(0)}.")

    # --- what is known of a value before the run ---------------------------------------------------------------------

    def possible(self, value: Any) -> list[Any]:
        """Return the values that a value may take: parameters' defaults and choices, and UNKNOWN for the rest."""
        if not is_function(value):
            return [value]
        ((function, given),) = value.items()
        parts = split(given) if function == "Get" else None
        if parts and parts[0] == "Parameters":
            parameter = self.definition.parameter_of[parts[1]]
            choices = parameter.get("EnumValues") or []
            default = [parameter["DefaultValue"]] if "DefaultValue" in parameter else []
            return [*default, *choices] or [UNKNOWN]
        if parts and parts[0] == "Execution":
            return [EXECUTION[parts[1]]]
        if function == "Std:Join":
            # One example is enough: the first value of each part, not every combination.
            texts = [self.possible(part)[0] for part in given["Values"]]
            return [given["On"].join(map(written, texts))]
        return [UNKNOWN]

    def sample(self, value: Any, text: Any) -> str:
        """Return an example of a value at run time, to match against an S3 URI.

        An unknown beginning becomes an S3 URI, since steps return complete ones; unknown parts after it become a word.
        """
        text = str(text)
        text = f"s3://example/{text.removeprefix(UNKNOWN)}" if text.startswith(UNKNOWN) else text
        return text.replace(UNKNOWN, "unknown")

    def described(self, value: Any) -> str:
        """Format a value or function for a message."""
        if is_function(value):
            ((function, given),) = value.items()
            return str(given) if function == "Get" else f"this {function.removeprefix('Std:')}"
        return quoted(value)

    # --- conditions ---------------------------------------------------------------------------------------------------

    def condition(self, condition: dict[str, Any], path: Path) -> None:
        """Check that a condition, or every condition inside a Not or Or, compares values of like types."""
        kind = condition["Type"]
        if kind == "Not":
            self.condition(condition["Condition"], (*path, "Condition"))
        elif kind == "Or":
            for place, inner in enumerate(condition["Conditions"]):
                self.condition(inner, (*path, "Conditions", f"[{place}]"))
        else:
            others = [("RightValue", condition["RightValue"])] if "RightValue" in condition else []
            others += [(f"Values[{place}]", value) for place, value in enumerate(condition.get("Values", []))]
            first = "QueryValue" if kind == "In" else "LeftValue"
            left = self.compared(condition[first], kind, (*path, first))
            for name, value in others:
                right = self.compared(value, kind, (*path, name))
                if left and right and "anything" not in (left, right) and left != right:
                    self.wrong((*path, name), f"{right} is compared with {left}, and never equals it.")

    def compared(self, value: Any, kind: str, path: Path) -> str | None:
        """Return "text", "a number", "true or false" or "anything" for a compared value, or None after a problem."""
        try:
            found = self.type_of(value)["type"]
            if found not in (*SCALARS, "anything"):
                raise Wrong(f"{self.described(value)} is {CALLED[found]}, which cannot be compared.")
            group = {"string": "text", "timestamp": "text", "blob": "text", "boolean": "true or false"}.get(
                found, "a number"
            )
            group = "anything" if found == "anything" else group
            if kind not in ("Equals", "In") and group == "true or false":
                raise Wrong(f"{self.described(value)} is true or false, which is neither more nor less than another.")
            return group
        except Wrong as wrong:
            self.wrong(path, str(wrong))
            return None


def require_fit(found: Shape, wanted: Shape, value: Any) -> None:
    """Raise Wrong if a value of the shape `found` cannot be used where the API takes the shape `wanted`."""
    have, want = found["type"], wanted["type"]
    if "anything" in (have, want):
        if have == "anything" and want not in (*SCALARS, "anything"):
            raise Wrong(f"a value that only the run knows cannot be {CALLED[want]}.")
        return
    if have in ("structure", "map", "list") or want in ("structure", "map", "list"):
        if have != want or found.get("members") != wanted.get("members") or found.get("member") != wanted.get("member"):
            raise Wrong(f"{value.get('Get', 'it')} is {CALLED[have]}; the API takes {CALLED[want]} here.")
        return
    if want not in FITS[have]:
        advice = " Make it text with Std:Join, in the SDK to_string()." if want == "string" else ""
        raise Wrong(f"{value.get('Get', 'it')} is {CALLED[have]}; the value here must be {CALLED[want]}.{advice}")
    # A string without a pattern may hold an ARN.
    if is_arn(wanted) and "pattern" in found and not is_arn(found):
        raise Wrong(f"{value.get('Get', 'it')} is no ARN, which has to stand here.")
    if found.get("enum") and wanted.get("enum") and not set(found["enum"]) & set(wanted["enum"]):
        raise Wrong(f"{value.get('Get', 'it')} is one of {quoted(found['enum'])}, none of which may stand here.")


def no_address(text: str) -> str:
    """Return the message for a text that is not an S3 URI, which names what is wrong with the bucket's name.

    docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
    """
    bucket = text.removeprefix("s3://").split("/")[0]
    if not text.startswith("s3://") or not bucket:
        return "not an address in S3. Write s3://bucket/key."
    if not 3 <= len(bucket) <= 63:
        return f"not an address in S3. The bucket's name {bucket!r} has {len(bucket)} characters; names have 3 to 63."
    return f"not an address in S3. {bucket!r} is no bucket's name: use lower case letters, digits, dots and hyphens."


def is_arn(shape: Shape) -> bool:
    return shape.get("pattern", "").lstrip("^(").startswith("arn:")


def literal_problem(value: Any, shape: Shape) -> str | None:
    """Return what is wrong with a literal scalar, or None."""
    kind = shape["type"]
    if kind in ("integer", "long"):
        right = isinstance(value, int) and not isinstance(value, bool)
    elif kind in ("float", "double"):
        right = isinstance(value, (int, float)) and not isinstance(value, bool)
    elif kind in PYTHON:
        right = isinstance(value, PYTHON[kind])
    else:
        right = True
    if not right:
        return f"{quoted(value)} is not {CALLED[kind]}."
    if kind == "string":
        return text_problem(value, shape)
    if kind in ("integer", "long", "float", "double"):
        if "min" in shape and value < shape["min"]:
            return f"{value} is below {shape['min']}, the least that the API takes."
        if "max" in shape and value > shape["max"]:
            return f"{value} is above {shape['max']}, the most that the API takes."
    return None


def text_problem(text: str, shape: Shape) -> str | None:
    """Return what is wrong with a string by the shape's enum, length or pattern, or None."""
    if "enum" in shape and text not in shape["enum"]:
        near = difflib.get_close_matches(text, shape["enum"], 1)
        choices = f"Is it {near[0]}?" if near else f"It may be {quoted(', '.join(shape['enum']), 120)}"
        return f"{quoted(text)} is none of the API's. {choices}"
    if problem := size_problem(len(text), "characters", shape):
        return problem
    pattern = pattern_of(shape["pattern"]) if "pattern" in shape else None
    if pattern and not pattern.fullmatch(text):
        return f"{quoted(text)} does not match {shape['pattern']}."
    return None


def size_problem(size: int, what: str, shape: Shape) -> str | None:
    if "min" in shape and size < shape["min"]:
        return f"it has {size} {what}, fewer than {shape['min']}."
    if "max" in shape and size > shape["max"]:
        return f"it has {size} {what}, more than {shape['max']}."
    return None


def output_parameter(step: Step, rest: str) -> Shape:
    """Return the shape of a declared output parameter of a Lambda or Callback step. Raises Wrong if there is none."""
    outputs = {entry["OutputName"]: entry["OutputType"] for entry in step.body.get("OutputParameters", [])}
    found = re.fullmatch(r"\.OutputParameters\[(?:'([^']+)'|\"([^\"]+)\")\]", rest)
    name = found and (found.group(1) or found.group(2))
    if name not in outputs:
        raise Wrong(f"step {step.name} has no output parameter {quoted(name or rest)}{listed(outputs)}.")
    return {"type": PARAMETER_TYPES[outputs[name]]}


# Lists whose entries a reference may select by name: the path to the list in the arguments, then the member that is
# the name.
NAMED_ENTRIES = {
    ".ProcessingOutputConfig.Outputs": ("ProcessingOutputConfig", "Outputs", "OutputName"),
    ".ProcessingInputs": ("ProcessingInputs", "InputName"),
    ".InputDataConfig": ("InputDataConfig", "ChannelName"),
}


def require_own_entry(step: Step, walked: str, key: str) -> None:
    """Raise Wrong if the arguments of the step have no entry named `key` in the list at `walked`."""
    place = walked.removeprefix(f"step {step.name}")
    if place not in NAMED_ENTRIES:
        return
    *way, name = NAMED_ENTRIES[place]
    value: Any = step.arguments
    for member in way:
        value = value.get(member) if isinstance(value, dict) else None
    names = [named for entry in entries(value) if isinstance(named := entry.get(name), str)]
    if key not in names:
        raise Wrong(f"{walked} has no {key}{listed(names)}.")


def listed(names: Any) -> str:
    """Return the end of a message that lists the first 10 names there are."""
    there = ", ".join(list(names)[:10])
    return f"; there is {there}" if there else "; there is none"


def written(part: Any) -> str:
    """Convert a value to text as Std:Join does."""
    return str(part).lower() if isinstance(part, bool) else str(part)
