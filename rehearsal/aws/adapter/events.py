"""EventBridge: events of AWS services, targets of our own, and what its targets' policies allow."""

import json
import logging
from collections.abc import Callable
from typing import Any

from ministack.core.arn import parse_arn
from ministack.core.responses import request_scope
from ministack.services import eventbridge, lambda_svc, sns, sqs
from ministack.services.cloudformation import stacks

from rehearsal.aws.adapter import targets
from rehearsal.aws.adapter.policies import service_may
from rehearsal.aws.adapter.running import ACCOUNT, REGION, in_background, on_loop

logger = logging.getLogger("rehearsal")

_target_services: dict[str, Callable[[dict[str, Any], str | None], None]] = {}


def raise_event(source: str, detail_type: str, detail: dict[str, Any], resources: list[str]) -> None:
    """Raise an event of an AWS service, which its rules then match."""
    entry = {"Source": source, "DetailType": detail_type, "Detail": json.dumps(detail), "Resources": resources}

    def put() -> None:
        with request_scope(ACCOUNT, REGION):
            eventbridge._put_events({"Entries": [entry]}, allow_aws_source=True)

    on_loop(put)


def add_target(service: str, deliver: Callable[[dict[str, Any], str | None], None]) -> None:
    """Deliver events to targets of a service: deliver(target, transformed input)."""
    _target_services[service] = deliver


def _invoke_target(target: dict[str, Any], event: dict[str, Any], rule: dict[str, Any], view: Any = None) -> None:
    view = view or eventbridge._pattern_event_view(event)
    spec = parse_arn(target["Arn"])
    if spec.service == "events":  # another bus: it gets the event itself
        _original_invoke(target, event, rule, view)
        return
    try:
        payload = targets.input_of(target, rule, view)
        _require_permission(spec.service, target["Arn"], rule["Arn"])
    except targets.UndeliverableError as problem:
        targets.put_aside(target, json.dumps(view.event_with_detail()), rule, problem)
        return
    if spec.service in _target_services:
        is_own = {"Input", "InputPath", "InputTransformer"} & target.keys()  # else it is the event, which builds ignore
        in_background(_target_services[spec.service], target, payload if is_own else None)
    else:
        bare = {name: value for name, value in target.items() if name not in ("InputPath", "InputTransformer")}
        _original_invoke({**bare, "Input": payload}, event, rule, view)


def _require_permission(service: str, arn: str, rule: str) -> None:
    """Raise UndeliverableError unless the target exists and its own policy lets the rule reach it."""
    may = {"lambda": _rule_may_invoke, "sns": _rule_may_publish, "sqs": _rule_may_send}.get(service)
    if may and not may(rule, arn):
        raise targets.UndeliverableError("NO_PERMISSIONS", f"the policy of {arn} does not let {rule} reach it")


def _rule_may_invoke(rule: str, function: str) -> bool:
    """Whether a function's own policy lets a rule invoke it: ministack does not ask, AWS does."""
    record = lambda_svc._functions.get(function.rsplit(":", 1)[-1])
    return record is not None and _rule_may(rule, "lambda:InvokeFunction", function, record["policy"])


def _rule_may_publish(rule: str, topic: str) -> bool:
    """Whether a topic's own policy lets a rule publish to it."""
    record = sns._topics.get(topic)
    return record is not None and _rule_may(rule, "sns:Publish", topic, record["attributes"].get("Policy"))


def _rule_may_send(rule: str, queue: str) -> bool:
    """Return whether a queue's own policy lets a rule send to it."""
    record = sqs._queue_by_arn(queue)
    return record is not None and _rule_may(rule, "sqs:SendMessage", queue, record["attributes"].get("Policy"))


def _rule_may(rule: str, action: str, resource: str, policy: str | dict[str, Any] | None) -> bool:
    """Whether a resource's policy allows EventBridge an action on behalf of a rule."""
    return service_may("events.amazonaws.com", action, resource, policy, rule)


def _dispatch_to_sns(topic: str, message: str) -> None:
    """Publish an event without a subject: ministack gives it one."""
    sns.publish_internal(topic, message)


def _dispatch_to_lambda(function: str, payload: str) -> None:
    """As AWS: Lambda takes an event at once, tries it three times, and then puts it into the dead-letter queue."""
    record, config, _ = lambda_svc._get_func_record_for_ref(function)
    if record and config:
        lambda_svc.invoke_async_with_retry(lambda_svc._execution_record_for_config(record, config), json.loads(payload))


eventbridge._dispatch_to_lambda, eventbridge._dispatch_to_sns = _dispatch_to_lambda, _dispatch_to_sns
_original_invoke = eventbridge._invoke_target
eventbridge._invoke_target = _invoke_target


def _add_stack_event(
    stack_id: str, stack_name: str, logical_id: str, resource_type: str, status: str, *more: Any, **named: Any
) -> None:
    """Record a stack's event, and raise it where it is the stack's own: ministack keeps it to itself.

    docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/eventbridge-events-reference.html
    """
    _original_stack_event(stack_id, stack_name, logical_id, resource_type, status, *more, **named)
    if resource_type == "AWS::CloudFormation::Stack":
        detail = {"stack-id": stack_id, "status-details": {"status": status, "status-reason": ""}}
        in_background(raise_event, "aws.cloudformation", "CloudFormation Stack Status Change", detail, [stack_id])


_original_stack_event = stacks._add_event
stacks._add_event = _add_stack_event
