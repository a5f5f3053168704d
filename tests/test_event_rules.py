"""EventBridge rules: who may be told by them, and how many and how long their patterns may be."""

import json

import pytest
from botocore.exceptions import ClientError
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


def wildcard(number: int) -> str:
    return json.dumps({"source": [{"wildcard": f"tests.*.{number}"}]})


def of_length(characters: int) -> str:
    return json.dumps({"source": ["x" * (characters - len('{"source": [""]}'))]})


def refused(call, **parameters) -> tuple[str, str]:
    with pytest.raises(ClientError) as caught:
        call(**parameters)
    return caught.value.response["Error"]["Code"], caught.value.response["Error"]["Message"]


def test_a_bus_takes_30_rules_with_wildcards(events):
    events.create_event_bus(Name="full")
    for number in range(30):
        events.put_rule(Name=f"rule-{number}", EventBusName="full", EventPattern=wildcard(number))
    events.put_rule(Name="rule-0", EventBusName="full", EventPattern=wildcard(100))
    events.put_rule(Name="plain", EventBusName="full", EventPattern='{"detail": {"wildcard": ["x"]}}')

    code, message = refused(events.put_rule, Name="more", EventBusName="full", EventPattern=wildcard(31))

    assert (code, "30 rules with wildcards" in message) == ("LimitExceededException", True)
    assert len(events.list_rules(EventBusName="full")["Rules"]) == 31


def test_a_pattern_has_at_most_2048_characters(events):
    events.put_rule(Name="long", EventPattern=of_length(2048))

    code, message = refused(events.put_rule, Name="longer", EventPattern=of_length(2049))

    assert (code, "it has 2049 characters" in message) == ("InvalidEventPatternException", True)


def test_a_stack_with_too_long_a_pattern_is_not_created(played):
    cloudformation = played.client("cloudformation")
    rule = {"Type": "AWS::Events::Rule", "Properties": {"EventPattern": {"source": ["x" * 2048]}}}
    cloudformation.create_stack(StackName="long-pattern", TemplateBody=json.dumps({"Resources": {"Rule": rule}}))

    def ended() -> str | None:
        status = cloudformation.describe_stacks(StackName="long-pattern")["Stacks"][0]["StackStatus"]
        return None if status.endswith("IN_PROGRESS") else status

    assert wait_for(ended) == "ROLLBACK_COMPLETE"
    stack_events = cloudformation.describe_stack_events(StackName="long-pattern")["StackEvents"]
    assert [e for e in stack_events if "InvalidEventPatternException" in e.get("ResourceStatusReason", "")]
