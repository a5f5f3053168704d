"""EventBridge: input transformers, pages of targets, and SNS as a target."""

import json
from typing import Any

from recordings import Responses, create_queue, receive, refusal, replays, unique
from rehearsal.server import Emulator

PATHS = {
    "userId": "$.detail.payload.acc_id",
    "payload": "$.detail.payload",
    "systemstring": "$.detail.awsAccountId",
    "listsingle": "$.detail.severities",
    "listmulti": "$.detail.states",
    "valid": "$.detail.valid",
}
DETAIL = {
    "command": "update-account",
    "payload": {"acc_id": "0a787ecb-4015", "sf_id": "baz"},
    "severities": ["HIGH"],
    "states": ["ACTIVE", "INACTIVE"],
    "valid": True,
}
KIND = "core.update-account-command"
NESTED = "test_events_inputs::TestInputTransformer::test_input_transformer_nested_keys_replacement"
TEMPLATE = "test_events_inputs::TestInputTransformer::test_put_events_with_input_transformer_input_template"
EVENT = "Event of <detail-type> type, at time <timestamp>, info extracted from detail <command>"

ACCEPTED: dict[str, dict[str, str]] = {}
NOT_REPLAYED: dict[str, str] = {}

TEMPLATES = [
    '"<listmulti> multiple list items"',
    '"<listsingle> single list item <listmulti> multiple list items <systemstring> system account id <payload> payload <userId> user id"',
    '"<listsingle> single list item"\n"<listmulti> multiple list items"\n"<systemstring> system account id"\n"<payload> payload"\n"<userId> user id"',
    '"<listsingle> single list item"',
    '"Command is <valid>!"',
    '"Payload of <payload> with path users-service/users/<userId> and <userId>"',
    "<listmulti> multiple list items",
    "<listsingle> single list item",
    '{"id" : "<userId>"}',
    '{"id" : <userId>}',
    '{"method": "PUT", "nested": {"level1": {"level2": {"level3": "users-service/users/<userId>"} } }, "bod": "<userId>"}',
    '{"method": "PUT", "path": "users-service/users/<userId>", "bod": <payload>}',
    '{"method": "PUT", "path": "users-service/users/<userId>", "bod": [<userId>, "hardcoded"]}',
    '{"method": "PUT", "path": "users-service/users/<userId>", "id": <userId>, "body": <payload>}',
    '{"multi_replacement": "users/<userId>/second/<userId>"}',
    '{"singlelistitem": "<listsingle>", "multiplelistitems": "<listmulti>"}',
    '{"singlelistitem": "<listsingle>"}',
    '{"singlelistitem": <listsingle>}',
]  # fmt: skip


def create_rule(aws: Emulator) -> str:
    """Create a rule with a unique name that matches events whose source is that name; return the name."""
    rule = unique("recorded")
    aws.client("events").put_rule(Name=rule, EventPattern=json.dumps({"source": [rule]}))
    return rule


def put_event(aws: Emulator, source: str, detail: dict[str, Any] = DETAIL) -> None:
    entry = {"Source": source, "DetailType": KIND, "Detail": json.dumps(detail)}
    aws.client("events").put_events(Entries=[entry])


def transformed(aws: Emulator, template: str, paths: dict[str, str], seconds: int = 1) -> list[dict[str, Any]]:
    """Put one event on a rule with an input transformer; return the messages that its target queue receives."""
    rule, (url, arn) = create_rule(aws), create_queue(aws)
    transformer = {"InputPathsMap": paths, "InputTemplate": template}
    aws.client("events").put_targets(Rule=rule, Targets=[{"Id": "queue", "Arn": arn, "InputTransformer": transformer}])
    put_event(aws, rule)
    return receive(aws, url, 1, seconds)


def replay_template(template: str) -> None:
    """Register the replay of one template. An empty recording means that AWS delivered no message."""

    @replays(f"{NESTED}[{template}]".replace("\n", "\\n"))
    def replay(aws: Emulator) -> Responses:
        messages = transformed(aws, template, PATHS)
        return {"input-transformed-messages": messages} if messages else {}


for each in TEMPLATES:
    replay_template(each)


def replay_paths(suffix: str, template: str) -> None:
    """Register the replay of a template, once with every variable in the event and once with one missing."""

    @replays(f"{TEMPLATE}_{suffix}")
    def replay(aws: Emulator) -> Responses:
        paths = {"detail-type": "$.detail-type", "timestamp": "$.time", "command": "$.detail.command"}
        return {
            "custom-variables-match-all": transformed(aws, template, paths),
            "custom-variables-not-match-all": transformed(aws, template, paths | {"command": "$.detail.notinmessage"}),
        }


SPECIAL = '"{[/Check with special starting characters for event of <detail-type> type"'
replay_paths("json", '{"detailType": <detail-type>, "time": <timestamp>, "command": <command>}')
replay_paths("string", f'"{EVENT}"')
replay_paths(f'string["{EVENT}"]', f'"{EVENT}"')
replay_paths(f"string[{SPECIAL}]", SPECIAL)


@replays("test_events_inputs::TestInputTransformer::test_put_events_with_input_transformer_missing_keys")
def undefined_placeholder(aws: Emulator) -> Responses:
    rule, (_, arn) = create_rule(aws), create_queue(aws)
    transformer = {"InputPathsMap": {"command": "$.detail.command"}, "InputTemplate": '"<command> <notdefinedkey>"'}
    targets = [{"Id": "queue", "Arn": arn, "InputTransformer": transformer}]
    return {"missing-key-exception-error": refusal(aws.client("events").put_targets, Rule=rule, Targets=targets)}


@replays("test_events::TestEventTarget::test_list_target_by_rule_limit")
def pages_of_targets(aws: Emulator) -> Responses:
    events, rule, (_, arn) = aws.client("events"), create_rule(aws), create_queue(aws)
    events.put_targets(Rule=rule, Targets=[{"Id": f"target{number}", "Arn": arn} for number in range(5)])
    first = events.list_targets_by_rule(Rule=rule, Limit=3)
    second = events.list_targets_by_rule(Rule=rule, NextToken=first.get("NextToken", "none"))
    return {"list-targets-limit": first, "list-targets-limit-next-token": second}


@replays(
    *(
        f"test_events_targets::TestEventsTargetSns::test_put_events_with_target_sns[{kind}]"
        for kind in ("domain", "path", "standard")
    )
)
def topic_as_target(aws: Emulator) -> Responses:
    """Replay all three recordings alike: they differ in the form of LocalStack's queue URLs."""
    sns, rule, (url, queue) = aws.client("sns"), create_rule(aws), create_queue(aws)
    topic = sns.create_topic(Name=rule)["TopicArn"]
    allow = {
        "Effect": "Allow",
        "Principal": {"Service": "events.amazonaws.com"},
        "Action": "sns:Publish",
        "Resource": topic,
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [allow]})
    sns.set_topic_attributes(TopicArn=topic, AttributeName="Policy", AttributeValue=policy)
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=queue)
    events = aws.client("events")
    events.put_rule(Name=rule, EventPattern=json.dumps({"source": [KIND]}))
    events.put_targets(Rule=rule, Targets=[{"Id": "topic", "Arn": topic}])
    put_event(aws, KIND, {name: DETAIL[name] for name in ("command", "payload")})
    events.remove_targets(Rule=rule, Ids=["topic"])
    return {"messages": receive(aws, url, 1)}
