"""Refuse to create a resource under a name that is taken: ministack's provisioners would take over the existing one."""

from collections.abc import Callable
from typing import Any

from ministack.services import cloudwatch, cloudwatch_logs, codebuild, eventbridge, iam, lambda_svc, sns, sqs

from rehearsal.aws.adapter.running import ACCOUNT, REGION


def _rule_exists(name: str, properties: dict[str, Any]) -> bool:
    bus = properties.get("EventBusName", "default").rsplit("/", 1)[-1]
    return eventbridge._rule_key(name, bus) in eventbridge._rules


# Resource type -> its name property, and a function that returns whether a resource of that name exists.
_NAMED: dict[str, tuple[str, Callable[[str, dict[str, Any]], bool]]] = {
    "AWS::CloudWatch::Alarm": ("AlarmName", lambda name, _: name in cloudwatch._alarms),
    "AWS::CodeBuild::Project": ("Name", lambda name, _: name in codebuild._projects),
    "AWS::Events::Rule": ("Name", _rule_exists),
    "AWS::IAM::Role": ("RoleName", lambda name, _: name in iam._roles),
    "AWS::Lambda::Function": ("FunctionName", lambda name, _: name in lambda_svc._functions),
    "AWS::Logs::LogGroup": ("LogGroupName", lambda name, _: name in cloudwatch_logs._log_groups),
    "AWS::SNS::Topic": ("TopicName", lambda name, _: f"arn:aws:sns:{REGION}:{ACCOUNT}:{name}" in sns._topics),
    "AWS::SQS::Queue": ("QueueName", lambda name, _: name in sqs._queue_name_to_url),
}


def refuse_existing(resource_type: str, properties: dict[str, Any]) -> None:
    """Raise ValueError with CloudFormation's reason if a resource of the same type and name already exists.

    docs.aws.amazon.com/cloudformation-cli/latest/userguide/resource-type-test-contract-errors.html, AlreadyExists: a
    create handler must not succeed when the resource with that identifier exists.
    """
    member, exists = _NAMED.get(resource_type, ("", None))
    if exists and member in properties and exists(properties[member], properties):
        identifier = f"Resource of type '{resource_type}' with identifier '{properties[member]}' already exists."
        raise ValueError(f'Resource handler returned message: "{identifier}" (HandlerErrorCode: AlreadyExists)')
