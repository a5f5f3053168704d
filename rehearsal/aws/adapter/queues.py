"""SQS: messages that AWS services send."""

from typing import Any

from ministack.services import sqs

from rehearsal.aws.adapter.policies import service_may


def send_as_service(service: str, queue: str, source: str, body: str, attributes: dict[str, Any] | None = None) -> None:
    """Send a message to a queue, by its ARN. Raises LookupError or PermissionError where AWS would not send it."""
    record = sqs._queue_by_arn(queue)
    if record is None:
        raise LookupError(f"the queue {queue} does not exist")
    if not service_may(service, "sqs:SendMessage", queue, record["attributes"].get("Policy"), source):
        raise PermissionError(f"the policy of {queue} does not let {service} send to it for {source}")
    put_message(queue, body, attributes)


def put_message(queue: str, body: str, attributes: dict[str, Any] | None = None) -> None:
    """Put a message into a queue for somebody who may send to it. Raises LookupError for a queue that does not exist."""
    record = sqs._queue_by_arn(queue)
    if record is None:
        raise LookupError(f"the queue {queue} does not exist")
    sqs._act_send_message({"MessageBody": body, "MessageAttributes": attributes or {}}, record["url"])
