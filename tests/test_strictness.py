"""The emulated AWS refuses, drops and delivers as AWS does, where ministack takes or does anything."""

import json
import uuid
from typing import Any

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from conftest import wait_for

from rehearsal.server import ACCOUNT, REGION, PlayedAws

UNCHECKED = Config(
    parameter_validation=False, retries={"max_attempts": 1}
)  # so that the service sees what boto3 refuses


def unique(name: str) -> str:
    return f"{name}-{uuid.uuid4().hex[:8]}"


def refusal(call: Any, **parameters: Any) -> tuple[str, str]:
    """Return code and message of a call that must be refused."""
    with pytest.raises(ClientError) as refused:
        call(**parameters)
    return refused.value.response["Error"]["Code"], refused.value.response["Error"]["Message"]


def allow(service: str, action: str, resource: str, **more: Any) -> dict[str, Any]:
    principal = {"Service": f"{service}.amazonaws.com"}
    return {"Effect": "Allow", "Principal": principal, "Action": action, "Resource": resource} | more


def policy(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": statements})


def create_queue(aws: PlayedAws, *statements: dict[str, Any]) -> tuple[str, str]:
    """Create a queue with a policy; return its address and its ARN."""
    name = unique("strict")
    attributes = {"Policy": policy(*statements)} if statements else {}
    url = aws.client("sqs").create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
    return url, f"arn:aws:sqs:{REGION}:{ACCOUNT}:{name}"


def received(aws: PlayedAws, queue: str, seconds: int = 1, count: int = 1) -> list[dict[str, Any]]:
    """Return up to `count` messages of a queue, waiting for each."""
    messages: list[dict[str, Any]] = []
    for _ in range(count):
        response = aws.client("sqs").receive_message(
            QueueUrl=queue, WaitTimeSeconds=seconds, MessageAttributeNames=["All"]
        )
        messages += response.get("Messages", [])
    return messages


# --- EventBridge -----------------------------------------------------------------------------------------------------


@pytest.fixture
def rule(played: PlayedAws) -> str:
    """A rule for events whose source is the rule's own name."""
    name = unique("strict")
    played.client("events").put_rule(Name=name, EventPattern=json.dumps({"source": [name]}))
    return name


def put_event(aws: PlayedAws, rule: str) -> None:
    aws.client("events").put_events(Entries=[{"Source": rule, "DetailType": "test", "Detail": '{"a": [1]}'}])


QUEUE = f"arn:aws:sqs:{REGION}:{ACCOUNT}:any"


@pytest.mark.parametrize(
    ("target", "code", "message"),
    [
        ({"RetryPolicy": {"MaximumRetryAttempts": 186}}, "ValidationException", "less than or equal to 185"),
        ({"RetryPolicy": {"MaximumEventAgeInSeconds": 59}}, "ValidationException", "greater than or equal to 60"),
        ({"Id": "a b"}, "ValidationException", "regular expression pattern"),
        ({"Input": "{"}, "ValidationException", "JSON syntax error in input for target one."),
        ({"Input": "1", "InputTransformer": {"InputTemplate": '"x"'}}, "ValidationException", "Only one of Input, InputPath"),
        ({"InputTransformer": {"InputTemplate": '"<unknown>"'}}, "ValidationException", "invalid placeholder unknown."),
    ],
)  # fmt: skip
def test_a_target_that_eventbridge_refuses_is_refused(played, rule, target, code, message):
    put = played.client("events", config=UNCHECKED).put_targets

    refused = refusal(put, Rule=rule, Targets=[{"Id": "one", "Arn": QUEUE} | target])

    assert refused[0] == code
    assert message in refused[1]


def test_a_rule_takes_five_targets(played, rule):
    events = played.client("events")
    events.put_targets(Rule=rule, Targets=[{"Id": f"t{number}", "Arn": QUEUE} for number in range(5)])

    refused = refusal(events.put_targets, Rule=rule, Targets=[{"Id": "t5", "Arn": QUEUE}])

    assert refused == ("LimitExceededException", "The requested resource exceeds the maximum number allowed.")


RULE = """
Resources:
  Rule:
    Type: AWS::Events::Rule
    Properties:
      EventPattern: {source: [x]}
      Targets: [{Id: one, Arn: "%s", InputTransformer: {InputTemplate: '"<unknown>"'}}]
""" % QUEUE  # fmt: skip  # noqa: UP031 (the template is full of braces)


def test_a_stack_with_a_target_that_eventbridge_refuses_fails(played):
    cloudformation, stack = played.client("cloudformation"), unique("strict")
    cloudformation.create_stack(StackName=stack, TemplateBody=RULE, OnFailure="DO_NOTHING")

    reasons = wait_for(lambda: failures(cloudformation, stack))

    assert "invalid placeholder unknown" in reasons[0]


def failures(cloudformation: Any, stack: str) -> list[str]:
    events = cloudformation.describe_stack_events(StackName=stack)["StackEvents"]
    return [event["ResourceStatusReason"] for event in events if event["ResourceStatus"] == "CREATE_FAILED"]


@pytest.mark.parametrize(
    ("statements", "arrive"),
    [
        ([], 0),
        ([allow("events", "sqs:SendMessage", "*")], 1),
        ([allow("sns", "sqs:SendMessage", "*")], 0),
        ([allow("events", "sqs:ReceiveMessage", "*")], 0),
        ([allow("events", "sqs:SendMessage", "*", Condition={"StringEquals": {"aws:SourceAccount": ACCOUNT}})], 1),
        ([allow("events", "sqs:SendMessage", "*", Condition={"StringEquals": {"aws:SourceAccount": "444455556666"}})], 0),
        ([allow("events", "sqs:SendMessage", "*"), allow("events", "sqs:*", "*", Effect="Deny")], 0),
    ],
    ids=["none", "allowed", "another service", "another action", "its account", "another account", "denied"],
)  # fmt: skip
def test_an_event_reaches_a_queue_that_lets_the_rule_send(played, rule, statements, arrive):
    url, arn = create_queue(played, *statements)
    played.client("events").put_targets(Rule=rule, Targets=[{"Id": "queue", "Arn": arn}])

    put_event(played, rule)

    assert len(received(played, url)) == arrive


def test_an_event_that_may_not_be_delivered_is_kept_in_the_targets_dead_letter_queue(played, rule):
    (_, closed), (url, dead) = create_queue(played), create_queue(played, allow("events", "sqs:SendMessage", "*"))
    target = {"Id": "queue", "Arn": closed, "DeadLetterConfig": {"Arn": dead}}
    played.client("events").put_targets(Rule=rule, Targets=[target])

    put_event(played, rule)

    message = received(played, url)[0]
    assert json.loads(message["Body"])["source"] == rule
    assert message["MessageAttributes"]["ERROR_CODE"]["StringValue"] == "NO_PERMISSIONS"


# --- CloudWatch ------------------------------------------------------------------------------------------------------


def create_alarm(aws: PlayedAws, queue: str, topic: str) -> None:
    aws.client("cloudwatch").put_metric_alarm(
        AlarmName=queue, Namespace="AWS/SQS", MetricName="ApproximateNumberOfMessagesVisible",
        Dimensions=[{"Name": "QueueName", "Value": queue}], Statistic="Maximum", Period=60, EvaluationPeriods=1,
        Threshold=0, ComparisonOperator="GreaterThanThreshold", TreatMissingData="notBreaching", AlarmActions=[topic],
    )  # fmt: skip


def state(aws: PlayedAws, alarm: str) -> str:
    return aws.client("cloudwatch").describe_alarms(AlarmNames=[alarm])["MetricAlarms"][0]["StateValue"]


@pytest.mark.parametrize(
    ("source", "arrive"), [(f"arn:aws:cloudwatch:{REGION}:{ACCOUNT}:alarm:strict-*", 1), ("arn:aws:cloudwatch:*:alarm:other", 0)]
)  # fmt: skip
def test_an_alarm_sees_a_queues_messages_and_publishes_where_the_topic_lets_it(played, source, arrive):
    sns, (inbox, endpoint), (url, arn) = (
        played.client("sns"),
        create_queue(played, allow("sns", "sqs:*", "*")),
        create_queue(played),
    )
    topic, queue = sns.create_topic(Name=unique("strict"))["TopicArn"], arn.rsplit(":", 1)[-1]
    statement = allow("cloudwatch", "sns:Publish", topic, Condition={"ArnLike": {"aws:SourceArn": source}})
    sns.set_topic_attributes(TopicArn=topic, AttributeName="Policy", AttributeValue=policy(statement))
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=endpoint)
    create_alarm(played, queue, topic)
    played.client("sqs").send_message(QueueUrl=url, MessageBody="dead")

    wait_for(lambda: state(played, queue) == "ALARM")

    assert len(received(played, inbox)) == arrive
