"""SQS: send messages as AWS services do, and reject the requests that AWS rejects."""

import re
from typing import Any

from ministack.services import sqs

from rehearsal.aws.adapter.identity_policies import problem_of_resource_policy
from rehearsal.aws.adapter.policies import service_may


def send_as_service(service: str, queue: str, source: str, body: str, attributes: dict[str, Any] | None = None) -> None:
    """Send a message to a queue, an ARN, on behalf of a service.

    Raise LookupError if there is no such queue, and PermissionError if its policy does not allow it.
    """
    record = sqs._queue_by_arn(queue)
    if record is None:
        raise LookupError(f"the queue {queue} does not exist")
    if not service_may(service, "sqs:SendMessage", queue, record["attributes"].get("Policy"), source):
        raise PermissionError(f"the policy of {queue} does not let {service} send to it for {source}")
    put_message(queue, body, attributes)


def put_message(queue: str, body: str, attributes: dict[str, Any] | None = None) -> None:
    """Put a message into a queue, an ARN, without checking permissions: the caller has done so.

    Raise LookupError if there is no such queue.
    """
    record = sqs._queue_by_arn(queue)
    if record is None:
        raise LookupError(f"the queue {queue} does not exist")
    sqs._act_send_message({"MessageBody": body, "MessageAttributes": attributes or {}}, record["url"])


# --- checks ----------------------------------------------------------------------------------------------------------
# docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_CreateQueue.html

_SETTABLE = {
    "ContentBasedDeduplication", "DeduplicationScope", "DelaySeconds", "FifoQueue", "FifoThroughputLimit",
    "KmsDataKeyReusePeriodSeconds", "KmsMasterKeyId", "MaximumMessageSize", "MessageRetentionPeriod", "Policy",
    "ReceiveMessageWaitTimeSeconds", "RedriveAllowPolicy", "RedrivePolicy", "SqsManagedSseEnabled", "VisibilityTimeout",
}  # fmt: skip


def _require_attributes(attributes: dict[str, Any]) -> None:
    for name in attributes.keys() - _SETTABLE:
        raise sqs._Err("InvalidAttributeName", f"Unknown Attribute {name}.")
    if attributes.get("Policy") and problem_of_resource_policy(attributes["Policy"]):
        raise sqs._Err("InvalidAttributeValue", "Invalid value for the parameter Policy.")


def _create_queue(data: dict[str, Any], address: str) -> Any:
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,80}|[A-Za-z0-9_-]{1,75}\.fifo", data.get("QueueName", "")):
        form = "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length"
        raise sqs._Err("InvalidParameterValue", form)
    _require_attributes(data.get("Attributes") or {})
    return _original_create(data, address)


def _set_queue_attributes(data: dict[str, Any], address: str) -> Any:
    _require_attributes(data.get("Attributes") or {})
    return _original_set_attributes(data, address)


_original_create, _original_set_attributes = sqs._HANDLERS["CreateQueue"], sqs._HANDLERS["SetQueueAttributes"]
sqs._HANDLERS |= {"CreateQueue": _create_queue, "SetQueueAttributes": _set_queue_attributes}
