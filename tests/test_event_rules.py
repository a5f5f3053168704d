"""EventBridge rules: who may be told by them, and how many and how long their patterns may be."""

import json

import pytest
from conftest import wait_for

from rehearsal.notices import Mailbox

ALLOW = {"Sid": "Rules", "Effect": "Allow", "Principal": {"Service": "events.amazonaws.com"}, "Action": "sns:Publish"}
FROM_ACCOUNT = {"StringEquals": {"aws:SourceAccount": "111122223333"}}


def topic(played, name: str, condition: dict) -> tuple[str, Mailbox]:
    """A topic to which rules may publish, under a condition or none, and a mailbox for it."""
    sns = played.client("sns")
    arn = sns.create_topic(Name=name)["TopicArn"]
    policy = {"Version": "2012-10-17", "Statement": [{**ALLOW, "Resource": arn, **condition}]}
    sns.set_topic_attributes(TopicArn=arn, AttributeName="Policy", AttributeValue=json.dumps(policy))
    return arn, Mailbox(played, arn, f"mailbox-{name}")


@pytest.fixture
def events(played):
    return played.client("events")


def test_a_topic_whose_policy_has_a_condition_gets_no_event_and_one_without_does(played, events):
    closed, closed_mail = topic(played, "conditional", {"Condition": FROM_ACCOUNT})
    opened, opened_mail = topic(played, "unconditional", {})
    events.put_rule(Name="to-topics", EventPattern='{"source": ["tests"]}')
    events.put_targets(Rule="to-topics", Targets=[{"Id": "1", "Arn": closed}, {"Id": "2", "Arn": opened}])
    events.put_events(Entries=[{"Source": "tests", "DetailType": "x", "Detail": "{}"}])

    assert len(wait_for(opened_mail.read)) == 1
    assert closed_mail.read(wait_seconds=0) == []
