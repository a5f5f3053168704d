"""EventBridge: targets of rules, the input that they get, and dead-letter queues for what cannot be delivered."""

import datetime
import json
import logging
import re
from typing import Any

from ministack.core.responses import error_response_json, json_response
from ministack.services import eventbridge

from rehearsal.aws.adapter import queues
from rehearsal.aws.adapter.constraints import violation
from rehearsal.aws.adapter.templates import hold_to

logger = logging.getLogger("rehearsal")

MAX_TARGETS = 5  # per rule; docs.aws.amazon.com/eventbridge/latest/userguide/eb-quota.html
_PLACEHOLDER = re.compile(r"<([^<>\s]+)>")
_STRING_OR_PLACEHOLDER = re.compile(r'"(?:\\.|[^"\\])*"|<[^<>\s]+>')
_PREDEFINED = {
    "aws.events.rule-arn", "aws.events.rule-name", "aws.events.event.ingestion-time", "aws.events.event",
    "aws.events.event.json",
}  # fmt: skip
# Members of an event, in AWS's order.
_MEMBERS = ("version", "id", "detail-type", "source", "account", "time", "region", "resources", "detail")


class UndeliverableError(Exception):
    """An event cannot be delivered to a target, and a retry would not help; `code` is EventBridge's error code."""

    def __init__(self, code: str, message: str):
        super().__init__(message)
        self.code = code


# --- checks ----------------------------------------------------------------------------------------------------------


def problem_of_targets(
    rule: str, targets: list[dict[str, Any]], present: list[dict[str, Any]]
) -> tuple[str, str] | None:
    """Return code and message of AWS's error for `targets` of a rule that already has `present`, or None."""
    if broken := violation("events", "PutTargets", {"Rule": rule, "Targets": targets}, complete=True):
        return "ValidationException", broken
    if len({target["Id"] for target in [*present, *targets]}) > MAX_TARGETS:
        return "LimitExceededException", "The requested resource exceeds the maximum number allowed."
    problems = [message for target in targets if (message := _problem_of_target(target))]
    return ("ValidationException", problems[0]) if problems else None


def _problem_of_target(target: dict[str, Any]) -> str | None:
    name, transformer = target["Id"], target.get("InputTransformer")
    if not re.fullmatch(r"arn:[^:]+:[^:]+:[^:]*:[^:]*:.+", target["Arn"]):
        return f"Parameter {target['Arn']} is not valid. Reason: Provided Arn is not in correct format."
    if len([kind for kind in ("Input", "InputPath", "InputTransformer") if target.get(kind)]) > 1:
        return f"Only one of Input, InputPath, or InputTransformer must be provided for target {name}."
    if target.get("Input") and not _is_json(target["Input"]):
        return f"JSON syntax error in input for target {name}."
    defined = _PREDEFINED | (transformer or {}).get("InputPathsMap", {}).keys()
    for placeholder in _PLACEHOLDER.findall((transformer or {}).get("InputTemplate", "")):
        if placeholder not in defined:
            return f"InputTemplate for target {name} contains invalid placeholder {placeholder}."
    return None


def _put_targets(data: dict[str, Any]) -> Any:
    rule = data.get("Rule", "")
    present = eventbridge._targets.get(eventbridge._rule_key(rule, data.get("EventBusName", "default")), [])
    if problem := problem_of_targets(rule, data.get("Targets", []), present):
        return error_response_json(*problem)
    return _original_put_targets(data)


def _list_targets_by_rule(data: dict[str, Any]) -> Any:
    """Return a page of a rule's targets, or an error if the rule does not exist; ministack has neither."""
    rule, bus = data.get("Rule", ""), data.get("EventBusName", "default")
    key = eventbridge._rule_key(rule, bus)
    if key not in eventbridge._rules:
        message = f"Rule {rule} does not exist on EventBus {bus}."
        return error_response_json("ResourceNotFoundException", message)
    start, limit = eventbridge._opaque_offset_decode(data.get("NextToken", "")), data.get("Limit", 100)
    targets = eventbridge._targets.get(key, [])
    page: dict[str, Any] = {"Targets": targets[start : start + limit]}
    if start + limit < len(targets):
        page["NextToken"] = eventbridge._opaque_offset_encode(start + limit)
    return json_response(page)


def _require_rule(name: str, properties: dict[str, Any]) -> None:
    if problem := problem_of_targets(name, properties.get("Targets", []), []):
        raise ValueError(f"{problem[1]} (Service: EventBridge, Status Code: 400, Error Code: {problem[0]})")


_original_put_targets = eventbridge._put_targets
eventbridge._put_targets, eventbridge._list_targets_by_rule = _put_targets, _list_targets_by_rule
hold_to("AWS::Events::Rule", _require_rule)


# --- input of targets ------------------------------------------------------------------------------------------------


def input_of(target: dict[str, Any], rule: dict[str, Any], view: Any) -> str:
    """Return the input that a target gets for an event. Raise UndeliverableError if a transformed input is not JSON.

    docs.aws.amazon.com/eventbridge/latest/userguide/eb-transform-target-input.html; details are as recorded from AWS.
    """
    event = _ordered(view.event_with_detail())
    if target.get("Input"):
        return target["Input"]
    if transformer := target.get("InputTransformer"):
        return _transformed(transformer, rule, view)
    if path := target.get("InputPath"):
        value = _value_at(event, path)
        return _compact(event if value is None else value)
    return _compact(event)


def _transformed(transformer: dict[str, Any], rule: dict[str, Any], view: Any) -> str:
    event, template = _ordered(view.event_with_detail()), transformer["InputTemplate"]
    values = {name: _value_at(event, path) for name, path in transformer.get("InputPathsMap", {}).items()} | {
        "aws.events.rule-arn": rule["Arn"],
        "aws.events.rule-name": rule["Name"],
        "aws.events.event.ingestion-time": f"{datetime.datetime.now(datetime.UTC):%Y-%m-%dT%H:%M:%SZ}",
        "aws.events.event": view.envelope(),
        "aws.events.event.json": event,
    }
    is_object = template.lstrip().startswith("{")

    def in_string(match: re.Match) -> str:
        value = values[match[1]]
        # If the template is an object, a list or object inside a string keeps its quotes, which end the string.
        return _text(value) if is_object or isinstance(value, str) else _text(value).replace('"', "")

    def anywhere(match: re.Match) -> str:
        if match[0].startswith('"'):
            return _PLACEHOLDER.sub(in_string, match[0])
        value = values[match[0][1:-1]]
        return _compact("" if value is None else value)

    result = _STRING_OR_PLACEHOLDER.sub(anywhere, template)
    # Several JSON values, one per line, are delivered unchanged.
    if not _is_json(result) and not all(_is_json(line) for line in result.splitlines()):
        raise UndeliverableError("INVALID_JSON", f"the transformed input is no JSON: {result}")
    return result


def _ordered(event: dict[str, Any]) -> dict[str, Any]:
    """Return an event with its members in AWS's order."""
    return {name: event[name] for name in _MEMBERS if name in event} | event


def _value_at(event: Any, path: str) -> Any:
    """Return the value at a JSON path, or None."""
    for part in re.findall(r"[^.\[\]]+", path.removeprefix("$")):
        if isinstance(event, dict) and part in event:
            event = event[part]
        elif isinstance(event, list) and part.isdigit() and int(part) < len(event):
            event = event[int(part)]
        else:
            return None
    return event


def _text(value: Any) -> str:
    """Return a value as text inside a string; a value that the event lacks (None) is empty."""
    return "" if value is None else value if isinstance(value, str) else _compact(value)


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


# --- undeliverable events --------------------------------------------------------------------------------------------


def put_aside(target: dict[str, Any], event: str, rule: dict[str, Any], problem: UndeliverableError) -> None:
    """Send an event that cannot be delivered to its target's dead-letter queue, if there is one that accepts it.

    docs.aws.amazon.com/eventbridge/latest/userguide/eb-rule-dlq.html: not retried if a permission or the target is
    missing.
    """
    logger.warning("rule %s: an event for %s is dropped: %s", rule["Name"], target["Arn"], problem)
    queue = target.get("DeadLetterConfig", {}).get("Arn")
    details = {
        "RULE_ARN": rule["Arn"],
        "TARGET_ARN": target["Arn"],
        "ERROR_CODE": problem.code,
        "ERROR_MESSAGE": str(problem),
    }
    attributes = {name: {"DataType": "String", "StringValue": value} for name, value in details.items()}
    try:
        if queue:
            queues.send_as_service("events.amazonaws.com", queue, rule["Arn"], event, attributes)
    except (LookupError, PermissionError) as refused:
        logger.warning("rule %s: nor can it be kept: %s", rule["Name"], refused)
