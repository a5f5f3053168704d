"""SNS: reject the requests that AWS rejects, and invoke functions asynchronously.

docs.aws.amazon.com/sns/latest/api/API_Publish.html, API_CreateTopic.html, API_Subscribe.html
"""

import json
import logging
import re
from typing import Any

from ministack.services import lambda_svc, sns

from rehearsal.aws.adapter.identity_policies import problem_of_resource_policy
from rehearsal.aws.adapter.policies import service_may

logger = logging.getLogger("rehearsal")

_PROTOCOLS = {"application", "email", "email-json", "firehose", "http", "https", "lambda", "sms", "sqs"}
_ATTRIBUTES = {
    "ArchivePolicy", "ContentBasedDeduplication", "DeliveryPolicy", "DisplayName", "FifoThroughputScope", "KmsMasterKeyId",
    "Policy", "SignatureVersion", "TracingConfig",
}  # fmt: skip
_FEEDBACK = re.compile(r"(Application|Firehose|HTTP|Lambda|SQS)(Success|Failure)Feedback(RoleArn|SampleRate)")
MAX_SUBJECT = 100


def problem_of_message(subject: str, message: str) -> str | None:
    """Return what is wrong with a message's subject or text, or None."""
    if not message:
        return "Empty message"
    if len(subject) > MAX_SUBJECT or re.search(r"[\x00-\x1f\x7f]", subject):
        return "Subject"
    return None


def _refused(problem: str) -> Any:
    return sns._error("InvalidParameter", f"Invalid parameter: {problem}", 400)


def _publish(params: dict[str, Any]) -> Any:
    problem = problem_of_message(sns._p(params, "Subject"), sns._p(params, "Message"))
    return _refused(problem) if problem else _original_publish(params)


def _create_topic(params: dict[str, Any]) -> Any:
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,256}|[A-Za-z0-9_-]{1,251}\.fifo", sns._p(params, "Name")):
        return _refused("Topic Name")
    return _original_create(params)


def _subscribe(params: dict[str, Any]) -> Any:
    protocol, endpoint = sns._p(params, "Protocol"), sns._p(params, "Endpoint")
    if protocol not in _PROTOCOLS:
        return _refused(f"Amazon SNS does not support this protocol string: {protocol}")
    if protocol.startswith("email") and not re.fullmatch(r"[^@\s]+@[^@\s]+", endpoint):
        return _refused("Email address")
    if protocol in ("http", "https") and not endpoint.startswith(f"{protocol}://"):
        return _refused("Endpoint must match the specified protocol")
    return _original_subscribe(params)


def _set_topic_attributes(params: dict[str, Any]) -> Any:
    name, value = sns._p(params, "AttributeName"), sns._p(params, "AttributeValue")
    if name not in _ATTRIBUTES and not _FEEDBACK.fullmatch(name):
        return _refused("AttributeName")
    if name == "Policy" and (problem := problem_of_resource_policy(value)):
        return _refused(f"Policy Error: {problem}")
    return _original_set_attributes(params)


def _error(code: str, message: str, status: int) -> Any:
    """Return an error; for a topic that does not exist, with AWS's message."""
    return _original_error(
        code, "Topic does not exist" if message.startswith("Topic does not exist") else message, status
    )


def _deliver_to_lambda(
    function: str,
    envelope: str,
    topic: str,
    subscription: str,
    message_id: str,
    message: str,
    attributes: dict[str, Any],
) -> None:
    """Invoke a function if its policy allows the topic, with up to three attempts.

    ministack does not check the policy, and tries once.
    """
    record, config, _ = lambda_svc._get_func_record_for_ref(function)
    policy = record and record["policy"]
    if not record or not service_may("sns.amazonaws.com", "lambda:InvokeFunction", function, policy, topic):
        logger.warning("topic %s may not invoke %s: its message is dropped", topic, function)
        return
    source = {"EventSource": "aws:sns", "EventVersion": "1.0", "EventSubscriptionArn": subscription}
    event = {"Records": [source | {"Sns": json.loads(envelope)}]}
    lambda_svc.invoke_async_with_retry(lambda_svc._execution_record_for_config(record, config), event)


_original_publish, _original_create, _original_subscribe = sns._publish, sns._create_topic, sns._subscribe
_original_set_attributes, _original_error = sns._set_topic_attributes, sns._error
sns._publish, sns._create_topic, sns._subscribe = _publish, _create_topic, _subscribe
sns._set_topic_attributes, sns._error, sns._deliver_to_lambda = _set_topic_attributes, _error, _deliver_to_lambda
