"""Resource policies: what they allow an AWS service. Deny, conditions, actions and resources are all evaluated."""

from typing import Any

from ministack.core.iam_evaluator import EvalContext, evaluate_resource_policy
from ministack.services import sns, sqs

from rehearsal.aws.adapter.running import ACCOUNT, REGION


def service_may(service: str, action: str, resource: str, policy: str | dict[str, Any] | None, source: str) -> bool:
    """Return whether a resource's policy allows a service an action on behalf of `source`, an ARN of this account."""
    # The default policy of an SNS topic has a condition on aws:SourceOwner. It lets the services of the owner's account
    # publish, except EventBridge (docs.aws.amazon.com/eventbridge/latest/userguide/eb-use-resource-based.html).
    owner = {} if service == "events.amazonaws.com" else {"aws:sourceowner": ACCOUNT}
    context = EvalContext(
        principal_arn="*",
        principal_type="Service",
        principal_account="",
        action=action,
        resource_arn=resource,
        region=REGION,
        secure_transport=True,
        service_context={
            "aws:sourcearn": source,
            "aws:sourceaccount": ACCOUNT,
            "aws:principalisawsservice": "true",
            "aws:principalservicename": service,
        }
        | owner,
    )
    return evaluate_resource_policy(policy, context, service=service).decision == "Allow"


def _queue_policy_allows(queue: str, service: str, source: str, account: str) -> bool:
    """Return whether a queue's policy lets a service send; ministack's own check assumes plain HTTP."""
    record = sqs._queue_by_arn(queue)
    return record is not None and service_may(
        service, "sqs:SendMessage", queue, record["attributes"].get("Policy"), source
    )


def _topic_policy_allows(topic: str, service: str, source: str, account: str) -> bool:
    record = sns._topics.get(topic)
    return record is not None and service_may(service, "sns:Publish", topic, record["attributes"].get("Policy"), source)


sqs.queue_policy_allows, sns.topic_policy_allows = _queue_policy_allows, _topic_policy_allows
