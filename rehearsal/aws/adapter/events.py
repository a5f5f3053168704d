"""EventBridge: events of AWS services, additional targets, and the quotas and target policies that AWS enforces."""

import json
import logging
from collections.abc import Callable
from typing import Any

from ministack.core.arn import parse_arn
from ministack.core.responses import error_response_json, request_scope
from ministack.services import eventbridge, lambda_svc, sns, sqs
from ministack.services.cloudformation import provisioners, stacks

from rehearsal.aws.adapter import targets
from rehearsal.aws.adapter.policies import service_may
from rehearsal.aws.adapter.running import ACCOUNT, REGION, in_background, on_loop

logger = logging.getLogger("rehearsal")

Deliver = Callable[[str, dict[str, Any], str | None], None]
_target_services: dict[str, Deliver] = {}


def raise_event(source: str, detail_type: str, detail: dict[str, Any], resources: list[str]) -> None:
    """Put an event of an AWS service on the default bus."""
    entry = {"Source": source, "DetailType": detail_type, "Detail": json.dumps(detail), "Resources": resources}

    def put() -> None:
        with request_scope(ACCOUNT, REGION):
            eventbridge._put_events({"Entries": [entry]}, allow_aws_source=True)

    on_loop(put)


# docs.aws.amazon.com/eventbridge/latest/userguide/eb-quota.html: the first is fixed, the second adjustable on request.
MAX_WILDCARD_RULES = 30
MAX_PATTERN_CHARACTERS = 2048


def _quota_refusal(name: str, bus: str, pattern: str) -> tuple[str, str] | None:
    """Return error code and message for a rule over a quota that ministack does not enforce, else None.

    The quotas are the length of a pattern, and the rules with wildcards on a bus.
    """
    if len(pattern) > MAX_PATTERN_CHARACTERS:
        reason = f"it has {len(pattern)} characters, and at most {MAX_PATTERN_CHARACTERS} are allowed"
        return "InvalidEventPatternException", f"Event pattern is not valid. Reason: {reason}"
    others = [rule for rule in eventbridge._rules.values() if rule["EventBusName"] == bus and rule["Name"] != name]
    wild = [rule for rule in others if _has_wildcard(rule["EventPattern"])]
    if len(wild) >= MAX_WILDCARD_RULES and _has_wildcard(pattern):
        limit = f"a bus takes {MAX_WILDCARD_RULES} rules with wildcards, and {bus} has them"
        return "LimitExceededException", f"The requested resource exceeds the maximum number allowed: {limit}."
    return None


def _has_wildcard(pattern: str) -> bool:
    """Return whether an event pattern uses the wildcard operator."""
    try:
        return _uses_wildcard(json.loads(pattern or "{}"), in_array=False)
    except json.JSONDecodeError:
        return False  # PutRule rejects it itself


def _uses_wildcard(value: Any, in_array: bool) -> bool:
    if isinstance(value, list):
        return any(_uses_wildcard(item, True) for item in value)
    if isinstance(value, dict):
        # An operator is the key of an object in an array; anywhere else, "wildcard" is the name of a field.
        return (in_array and "wildcard" in value) or any(_uses_wildcard(item, in_array) for item in value.values())
    return False


def _put_rule(data: dict[str, Any]) -> Any:
    refusal = _quota_refusal(data.get("Name", ""), data.get("EventBusName", "default"), data.get("EventPattern", ""))
    return error_response_json(*refusal, 400) if refusal else _original_put_rule(data)


def _create_rule(logical_id: str, properties: dict[str, Any], stack: str) -> Any:
    """Create a stack's rule. CloudFormation sends its pattern without spaces, and that length counts for the quota."""
    pattern = properties.get("EventPattern") or ""
    text = pattern if isinstance(pattern, str) else json.dumps(pattern, separators=(",", ":"))
    if refusal := _quota_refusal(properties.get("Name", ""), properties.get("EventBusName", "default"), text):
        raise ValueError(f"{refusal[1]} (Service: EventBridge, Status Code: 400, Error Code: {refusal[0]})")
    return _original_create_rule(logical_id, properties, stack)


_original_put_rule, eventbridge._put_rule = eventbridge._put_rule, _put_rule
_rule_handlers = provisioners._RESOURCE_HANDLERS["AWS::Events::Rule"]
_original_create_rule, _rule_handlers["create"] = _rule_handlers["create"], _create_rule


def add_target(service: str, deliver: Deliver) -> None:
    """Deliver events to a service's targets with `deliver(rule ARN, target, input)`.

    The input is None unless the target has an Input, InputPath or InputTransformer.
    """
    _target_services[service] = deliver


def _invoke_target(target: dict[str, Any], event: dict[str, Any], rule: dict[str, Any], view: Any = None) -> None:
    view = view or eventbridge._pattern_event_view(event)
    spec = parse_arn(target["Arn"])
    if spec.service == "events":  # another bus, which gets the event itself
        _original_invoke(target, event, rule, view)
        return
    try:
        payload = targets.input_of(target, rule, view)
        _require_permission(spec.service, target["Arn"], rule["Arn"])
    except targets.UndeliverableError as problem:
        targets.put_aside(target, json.dumps(view.event_with_detail()), rule, problem)
        return
    if spec.service in _target_services:
        is_own = {"Input", "InputPath", "InputTransformer"} & target.keys()  # else: the event, which builds ignore
        in_background(_target_services[spec.service], rule["Arn"], target, payload if is_own else None)
    else:
        bare = {name: value for name, value in target.items() if name not in ("InputPath", "InputTransformer")}
        _original_invoke({**bare, "Input": payload}, event, rule, view)


def _require_permission(service: str, arn: str, rule: str) -> None:
    """Raise UndeliverableError unless the target exists and its own policy lets the rule reach it."""
    may = {"lambda": _rule_may_invoke, "sns": _rule_may_publish, "sqs": _rule_may_send}.get(service)
    if may and not may(rule, arn):
        raise targets.UndeliverableError("NO_PERMISSIONS", f"the policy of {arn} does not let {rule} reach it")


def _rule_may_invoke(rule: str, function: str) -> bool:
    """Return whether a function's own policy lets a rule invoke it, which AWS checks and ministack does not."""
    record = lambda_svc._functions.get(function.rsplit(":", 1)[-1])
    return record is not None and _rule_may(rule, "lambda:InvokeFunction", function, record["policy"])


def _rule_may_publish(rule: str, topic: str) -> bool:
    """Return whether a topic's own policy lets a rule publish to it; an Allow with a Condition does not count.

    docs.aws.amazon.com/eventbridge/latest/userguide/eb-use-resource-based.html, Amazon SNS permissions: "You can't use
    Condition blocks in Amazon SNS topic policies for EventBridge."
    """
    record = sns._topics.get(topic)
    if record is None:
        return False
    policy = json.loads(record["attributes"].get("Policy") or '{"Statement": []}')
    statements = policy["Statement"] if isinstance(policy["Statement"], list) else [policy["Statement"]]
    counted = [each for each in statements if each["Effect"] == "Deny" or not each.get("Condition")]
    return _rule_may(rule, "sns:Publish", topic, {**policy, "Statement": counted})


def _rule_may_send(rule: str, queue: str) -> bool:
    """Return whether a queue's own policy lets a rule send to it."""
    record = sqs._queue_by_arn(queue)
    return record is not None and _rule_may(rule, "sqs:SendMessage", queue, record["attributes"].get("Policy"))


def _rule_may(rule: str, action: str, resource: str, policy: str | dict[str, Any] | None) -> bool:
    """Return whether a resource's policy allows EventBridge an action on behalf of a rule."""
    return service_may("events.amazonaws.com", action, resource, policy, rule)


def _dispatch_to_sns(topic: str, message: str) -> None:
    """Publish an event to a topic, without the subject that ministack adds."""
    sns.publish_internal(topic, message)


def _dispatch_to_lambda(function: str, payload: str) -> None:
    """Invoke a function asynchronously, as AWS does: up to three attempts, then the dead-letter queue."""
    record, config, _ = lambda_svc._get_func_record_for_ref(function)
    if record and config:
        lambda_svc.invoke_async_with_retry(lambda_svc._execution_record_for_config(record, config), json.loads(payload))


eventbridge._dispatch_to_lambda, eventbridge._dispatch_to_sns = _dispatch_to_lambda, _dispatch_to_sns
_original_invoke = eventbridge._invoke_target
eventbridge._invoke_target = _invoke_target


def _add_stack_event(
    stack_id: str, stack_name: str, logical_id: str, resource_type: str, status: str, *more: Any, **named: Any
) -> None:
    """Record a stack event, and put it on the event bus if it is about the stack itself, which ministack does not do.

    docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/eventbridge-events-reference.html
    """
    _original_stack_event(stack_id, stack_name, logical_id, resource_type, status, *more, **named)
    if resource_type == "AWS::CloudFormation::Stack":
        detail = {"stack-id": stack_id, "status-details": {"status": status, "status-reason": ""}}
        in_background(raise_event, "aws.cloudformation", "CloudFormation Stack Status Change", detail, [stack_id])


_original_stack_event = stacks._add_event
stacks._add_event = _add_stack_event
