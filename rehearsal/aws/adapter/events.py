"""EventBridge: events of AWS services, targets of our own, and what its targets' policies allow."""

import json
import logging
from collections.abc import Callable
from typing import Any

from ministack.core import iam_evaluator
from ministack.core.arn import parse_arn
from ministack.core.responses import request_scope
from ministack.services import eventbridge, lambda_svc, sns
from ministack.services.cloudformation import stacks

from rehearsal.aws.adapter.running import ACCOUNT, REGION, in_background, on_loop

logger = logging.getLogger("rehearsal")

Deliver = Callable[[str, dict[str, Any], str | None], None]
_target_services: dict[str, Deliver] = {}


def raise_event(source: str, detail_type: str, detail: dict[str, Any], resources: list[str]) -> None:
    """Raise an event of an AWS service, which its rules then match."""
    entry = {"Source": source, "DetailType": detail_type, "Detail": json.dumps(detail), "Resources": resources}

    def put() -> None:
        with request_scope(ACCOUNT, REGION):
            eventbridge._put_events({"Entries": [entry]}, allow_aws_source=True)

    on_loop(put)


def add_target(service: str, deliver: Deliver) -> None:
    """Deliver events to targets of a service: deliver(rule's ARN, target, transformed input)."""
    _target_services[service] = deliver


def _invoke_target(target: dict[str, Any], event: dict[str, Any], rule: dict[str, Any], view: Any = None) -> None:
    service = parse_arn(target["Arn"]).service
    if service == "lambda" and not _rule_may_invoke(rule["Arn"], target["Arn"]):
        logger.warning("rule %s has no permission to invoke %s: its event is dropped", rule["Arn"], target["Arn"])
        return
    if service == "sns" and not _rule_may_publish(rule["Arn"], target["Arn"]):
        logger.warning("rule %s may not publish to %s: its event is dropped", rule["Arn"], target["Arn"])
        return
    if service not in _target_services:
        _original_invoke(target, event, rule, view)
        return
    given = None
    if target.get("InputTransformer"):
        view = view or eventbridge._pattern_event_view(event)
        given = eventbridge._apply_input_transformer(target["InputTransformer"], rule, view)
    in_background(_target_services[service], rule["Arn"], target, given)


def _rule_may_invoke(rule: str, function: str) -> bool:
    """Whether a function's own policy lets a rule invoke it: ministack does not ask, AWS does."""
    record = lambda_svc._functions.get(function.rsplit(":", 1)[-1])
    return record is not None and _rule_may(rule, "lambda:InvokeFunction", function, record["policy"])


def _rule_may_publish(rule: str, topic: str) -> bool:
    """Whether a topic's own policy lets a rule publish to it: a statement with a Condition never does.

    docs.aws.amazon.com/eventbridge/latest/userguide/eb-use-resource-based.html, Amazon SNS permissions: "You can't use
    Condition blocks in Amazon SNS topic policies for EventBridge."
    """
    record = sns._topics.get(topic)
    policy = json.loads((record or {}).get("attributes", {}).get("Policy") or '{"Statement": []}')
    unconditional = [statement for statement in policy["Statement"] if not statement.get("Condition")]
    return _rule_may(rule, "sns:Publish", topic, {**policy, "Statement": unconditional})


def _rule_may(rule: str, action: str, resource: str, policy: dict[str, Any]) -> bool:
    """Whether a resource's policy allows EventBridge an action on behalf of a rule."""
    context = iam_evaluator.EvalContext(
        principal_arn="events.amazonaws.com",
        principal_type="Service",
        principal_account=ACCOUNT,
        action=action,
        resource_arn=resource,
        region=REGION,
        service_context={"aws:sourcearn": rule, "aws:sourceaccount": ACCOUNT},
    )
    return any(
        statement["Effect"] == "Allow"
        and iam_evaluator._service_principal_matches(statement.get("Principal"), "events.amazonaws.com")
        and iam_evaluator._conditions_met(statement.get("Condition", {}), context)
        for statement in policy["Statement"]
    )


def _dispatch_to_lambda(function: str, payload: str) -> None:
    """As AWS: Lambda takes an event at once, tries it three times, and then puts it into the dead-letter queue."""
    record, config, _ = lambda_svc._get_func_record_for_ref(function)
    if record and config:
        lambda_svc.invoke_async_with_retry(lambda_svc._execution_record_for_config(record, config), json.loads(payload))


eventbridge._dispatch_to_lambda = _dispatch_to_lambda
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
