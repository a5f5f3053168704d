"""Check templates as CloudFormation does before it creates a stack, and compute whether an update changes anything.

The messages are AWS's, from repost.aws/knowledge-center/cloudformation-template-validation and from recordings.
"""

import re
from collections.abc import Iterator, Set
from typing import Any

Template = dict[str, Any]
SECTIONS = {
    "AWSTemplateFormatVersion", "Conditions", "Description", "Hooks", "Mappings", "Metadata", "Outputs", "Parameters",
    "Resources", "Rules", "Transform",
}  # fmt: skip
ATTRIBUTES = {
    "Condition", "CreationPolicy", "DeletionPolicy", "DependsOn", "Description", "Metadata", "Properties", "Type",
    "UpdatePolicy", "UpdateReplacePolicy",
}  # fmt: skip
# Attributes whose change alone is no update; nor is a change of conditions, mappings or descriptions alone.
UNCOMPARED = {"Condition", "DependsOn", "Description"}
PSEUDO_PARAMETERS = "AWS::"
_VARIABLE = re.compile(r"\$\{([^!}][^}]*)\}")


def check_format(template: Template) -> None:
    """Raise ValueError for errors in a template that do not depend on its parameters."""
    if template.get("Transform"):
        return  # a macro may rewrite everything
    _check_sections(template)
    conditions = template.get("Conditions") or {}
    names = _names(template)
    for name, resource in template["Resources"].items():
        _check_resource(name, resource)
    _refuse_unresolved("Resources", template["Resources"].values(), names)
    _refuse_unresolved("Outputs", (template.get("Outputs") or {}).values(), names)
    parameters = (template.get("Parameters") or {}).keys()
    if unresolved := sorted(name for name, _ in references(conditions) if not _known(name, parameters)):
        raise ValueError(
            f"Template format error: Unresolved dependencies [{', '.join(unresolved)}]. "
            "Cannot reference resources in the Conditions block of the template"
        )
    for section in ("Conditions", "Resources", "Outputs"):
        if undefined := sorted(set(_conditions_of(template.get(section) or {}, section)) - conditions.keys()):
            raise ValueError(
                f"Template format error: Unresolved condition dependency {undefined[0]} in the {section} block of the template"
            )


def check_dependencies(template: Template, conditions: dict[str, bool]) -> None:
    """Raise ValueError for references to resources that are not created because their condition is false."""
    if template.get("Transform"):
        return
    active = {name for name, each in template["Resources"].items() if conditions.get(each.get("Condition"), True)}
    names = active | _names(template, resources=False)
    made = [pruned(each, conditions) for name, each in template["Resources"].items() if name in active]
    _refuse_unresolved("Resources", [{**each, "DependsOn": []} for each in made], names)
    outputs = [each for each in (template.get("Outputs") or {}).values() if conditions.get(each.get("Condition"), True)]
    _refuse_unresolved("Outputs", [pruned(each, conditions) for each in outputs], names, prefix="")


def check_parameters(template: Template, provided: list[dict[str, Any]]) -> None:
    """Raise ValueError for unknown and missing parameters, and for values that are not among AllowedValues."""
    declared = template.get("Parameters") or {}
    names = {each["Key"] for each in provided if "Key" in each}
    if unknown := sorted(names - declared.keys()):
        raise ValueError(f"Parameters: [{', '.join(unknown)}] do not exist in the template")
    if missing := [name for name, each in declared.items() if "Default" not in each and name not in names]:
        raise ValueError(f"Parameters: [{', '.join(missing)}] must have values")
    for each in provided:
        allowed = declared.get(each.get("Key"), {}).get("AllowedValues")
        if allowed and not each.get("UsePreviousValue") and str(each.get("Value", "")) not in map(str, allowed):
            raise ValueError(f"Parameter '{each['Key']}' must be one of AllowedValues")


def effective(template: Template, conditions: dict[str, bool], parameters: dict[str, str]) -> dict[str, Any]:
    """Return what updates are compared by: the resources and outputs that are created, with parameters filled in.

    github.com/aws-cloudformation/cloudformation-coverage-roadmap/issues/2027: an update fails unless it changes
    Resources or Outputs. Renaming a parameter, or changing a resource whose condition is false, does not count.
    """
    mappings = template.get("Mappings") or {}
    return {
        section: {
            name: filled(pruned(_without(each, UNCOMPARED), conditions), parameters, mappings)
            for name, each in (template.get(section) or {}).items()
            if conditions.get(each.get("Condition"), True)
        }
        for section in ("Resources", "Outputs")
    }


def references(value: Any) -> Iterator[tuple[str, str]]:
    """Yield (name, function) of each Ref, Fn::GetAtt and variable of Fn::Sub."""
    if isinstance(value, list):
        for each in value:
            yield from references(each)
    elif isinstance(value, dict):
        for key, argument in value.items():
            if key == "Ref" and isinstance(argument, str):
                yield argument, "Ref"
            elif key == "Fn::GetAtt" and argument:
                yield (argument.split(".") if isinstance(argument, str) else argument)[0], "Fn::GetAtt"
            elif key == "Fn::Sub":
                text, variables = (argument, {}) if isinstance(argument, str) else (argument[0], argument[1])
                yield from ((n.split(".")[0].strip(), "Fn::Sub") for n in _VARIABLE.findall(text) if n not in variables)
                yield from references(variables)
            else:
                yield from references(argument)


def pruned(value: Any, conditions: dict[str, bool]) -> Any:
    """Return a value with each Fn::If replaced by the branch that its condition selects."""
    if isinstance(value, list):
        return [pruned(each, conditions) for each in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {"Fn::If"}:
        name, yes, no = value["Fn::If"]
        return pruned(yes if conditions.get(name, True) else no, conditions)
    return {key: pruned(each, conditions) for key, each in value.items()}


def filled(value: Any, parameters: dict[str, str], mappings: dict[str, Any]) -> Any:
    """Return a value with references to parameters and entries of mappings replaced by their values."""
    if isinstance(value, list):
        return [filled(each, parameters, mappings) for each in value]
    if not isinstance(value, dict):
        return value
    inner = {key: filled(each, parameters, mappings) for key, each in value.items()}
    if inner.keys() == {"Ref"} and inner["Ref"] in parameters:
        return parameters[inner["Ref"]]
    if inner.keys() == {"Fn::FindInMap"} and all(isinstance(each, str) for each in inner["Fn::FindInMap"]):
        name, first, second = inner["Fn::FindInMap"]
        return mappings.get(name, {}).get(first, {}).get(second, inner)
    if isinstance(inner.get("Fn::Sub"), str):
        return {"Fn::Sub": _VARIABLE.sub(lambda match: parameters.get(match[1], match[0]), inner["Fn::Sub"])}
    return inner


def _check_sections(template: Template) -> None:
    if unknown := sorted(template.keys() - SECTIONS):
        raise ValueError(f"Template format error: Invalid template property or properties [{', '.join(unknown)}]")
    if not template.get("Resources"):
        raise ValueError("Template format error: At least one Resources member must be defined.")


def _check_resource(name: str, resource: Any) -> None:
    where = f"Template format error: [/Resources/{name}]"
    if not isinstance(resource, dict):
        raise ValueError(f"{where} Every Resources member must be an object.")
    if "Type" not in resource:
        raise ValueError(f"{where} Every Resources object must contain a Type member.")
    if unknown := sorted(resource.keys() - ATTRIBUTES):
        raise ValueError(f"Invalid template resource property '{unknown[0]}'")


def _refuse_unresolved(section: str, parts: Any, names: Set[str], prefix: str = "Template format error: ") -> None:
    """Raise ValueError if parts of a section refer to names that do not exist."""
    missing: set[str] = set()
    for part in parts:
        used = [(name, function) for name, function in references(_without(part, {"DependsOn"}))]
        depends = part.get("DependsOn", []) if section == "Resources" else []
        used += [(name, "DependsOn") for name in ([depends] if isinstance(depends, str) else depends)]
        for name, function in used:
            if function == "Fn::GetAtt" and not _known(name, names) and prefix:
                raise ValueError(f"Template error: instance of Fn::GetAtt references undefined resource {name}")
        missing |= {name for name, _ in used if not _known(name, names)}
    if missing:
        listed = ", ".join(sorted(missing))
        raise ValueError(f"{prefix}Unresolved resource dependencies [{listed}] in the {section} block of the template")


def _conditions_of(value: Any, section: str) -> Iterator[str]:
    """Yield the names of the conditions that a section uses."""
    for entry in value.values():
        if section != "Conditions" and isinstance(entry.get("Condition"), str):
            yield entry["Condition"]
        yield from _tested(_without(entry, {"Condition"}) if section != "Conditions" else entry, section)


def _tested(value: Any, section: str) -> Iterator[str]:
    if isinstance(value, list):
        for each in value:
            yield from _tested(each, section)
    elif isinstance(value, dict):
        for key, argument in value.items():
            if key == "Fn::If" and isinstance(argument, list) and argument and isinstance(argument[0], str):
                yield argument[0]
            # In other sections, Condition is also a key of IAM policies.
            if key == "Condition" and section == "Conditions" and isinstance(argument, str):
                yield argument
            yield from _tested(argument, section)


def _names(template: Template, resources: bool = True) -> set[str]:
    return {*(template.get("Parameters") or {}), *(template["Resources"] if resources else ())}


def _known(name: str, names: Set[str]) -> bool:
    return name in names or name.startswith(PSEUDO_PARAMETERS)


def _without(value: dict[str, Any], keys: Set[str]) -> dict[str, Any]:
    return {key: each for key, each in value.items() if key not in keys}
