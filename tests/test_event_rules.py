"""EventBridge rules: which topics they may publish to, what they match, and the quotas of their patterns."""

import json

import pytest
from botocore.exceptions import ClientError
from conftest import ROOT, wait_for

from build.policies import Template
from rehearsal.notices import Mailbox
from rehearsal.server import ACCOUNT

ALLOW = {"Sid": "Rules", "Effect": "Allow", "Principal": {"Service": "events.amazonaws.com"}, "Action": "sns:Publish"}
FROM_ACCOUNT = {"StringEquals": {"aws:SourceAccount": "111122223333"}}


def topic(emulator, name: str, condition: dict) -> tuple[str, Mailbox]:
    """Create a topic to which rules may publish, under `condition` if not empty; return its ARN and a mailbox on it."""
    sns = emulator.client("sns")
    arn = sns.create_topic(Name=name)["TopicArn"]
    policy = {"Version": "2012-10-17", "Statement": [{**ALLOW, "Resource": arn, **condition}]}
    sns.set_topic_attributes(TopicArn=arn, AttributeName="Policy", AttributeValue=json.dumps(policy))
    return arn, Mailbox(emulator, arn, f"mailbox-{name}")


@pytest.fixture
def events(emulator):
    return emulator.client("events")


def test_a_topic_whose_policy_has_a_condition_gets_no_event_and_one_without_does(emulator, events):
    closed, closed_mail = topic(emulator, "conditional", {"Condition": FROM_ACCOUNT})
    opened, opened_mail = topic(emulator, "unconditional", {})
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


def test_a_stack_with_too_long_a_pattern_is_not_created(emulator):
    cloudformation = emulator.client("cloudformation")
    rule = {"Type": "AWS::Events::Rule", "Properties": {"EventPattern": {"source": ["x" * 2048]}}}
    cloudformation.create_stack(StackName="long-pattern", TemplateBody=json.dumps({"Resources": {"Rule": rule}}))

    def ended() -> str | None:
        status = cloudformation.describe_stacks(StackName="long-pattern")["Stacks"][0]["StackStatus"]
        return None if status.endswith("IN_PROGRESS") else status

    assert wait_for(ended) == "ROLLBACK_COMPLETE"
    stack_events = cloudformation.describe_stack_events(StackName="long-pattern")["StackEvents"]
    assert [e for e in stack_events if "InvalidEventPatternException" in e.get("ResourceStatusReason", "")]


PLACE = {"AWS::Region": "us-east-1", "SageMakerProjectId": "p-ours", "SageMakerProjectName": "Ours"}


def matches(events, rule: str, source: str, kind: str, resource: str, detail: dict, account: str = ACCOUNT) -> bool:
    """Return whether a rule of the project template matches an event, which has the form that AWS documents."""
    template = Template((ROOT / "templates/project.yaml").read_text(), PLACE)
    pattern = template.resolve(template.body["Resources"][rule]["Properties"]["EventPattern"])
    about = {"source": source, "detail-type": kind, "account": account, "region": "us-east-1"}
    event = {**about, "id": "1", "time": "2026-01-01T00:00:00Z", "resources": [resource], "detail": detail}
    return events.test_event_pattern(EventPattern=json.dumps(pattern), Event=json.dumps(event))["Result"]


@pytest.mark.parametrize(
    "pipeline, account, matched",
    [
        ("Ours-p-ours", ACCOUNT, True),
        ("ours-p-ours", ACCOUNT, True),
        ("ours-p-ours", "999999999999", False),
        ("theirs-p-theirs", ACCOUNT, False),
        ("ours-p-ours-2", ACCOUNT, False),
    ],
)
def test_the_rule_of_failed_runs_matches_the_projects_own_pipeline_alone(events, pipeline, account, matched):
    """Source: docs.aws.amazon.com/sagemaker/latest/dg/automating-sagemaker-with-eventbridge.html."""
    arn = f"arn:aws:sagemaker:us-east-1:{account}:pipeline/{pipeline}"
    kind = "SageMaker Model Building Pipeline Execution Status Change"
    detail = {"currentPipelineExecutionStatus": "Failed"}

    assert matches(events, "FailedRunRule", "aws.sagemaker", kind, arn, detail, account) == matched


@pytest.mark.parametrize(
    "stack, matched",
    [("sagemaker-p-ours-staging", True), ("sagemaker-p-ours2-staging", False), ("SP-p-ours", False)],
)
def test_the_rule_of_failed_deployments_matches_the_projects_own_stacks_alone(events, stack, matched):
    """Source: docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/eventbridge-events-reference.html."""
    arn = f"arn:aws:cloudformation:us-east-1:{ACCOUNT}:stack/{stack}/01234567-89ab-cdef-0123-456789abcdef"
    detail = {"status-details": {"status": "ROLLBACK_COMPLETE"}}
    kind = "CloudFormation Stack Status Change"

    assert matches(events, "FailedDeploymentRule", "aws.cloudformation", kind, arn, detail) == matched


FAILING = """
Resources:
  Parameter: {Type: 'AWS::SSM::Parameter', Properties: {Type: String, Value: x}}
  Taken: {Type: 'AWS::SNS::Topic', DependsOn: Parameter, Properties: {TopicName: deployments-of-tests}}
"""


def test_a_first_deployment_that_fails_is_told_of_once_and_says_where_its_reason_is(emulator, events):
    """The stack stays in ROLLBACK_COMPLETE: with OnFailure=DELETE it would emit no status of failure."""
    arn, mail = topic(emulator, "deployments-of-tests", {})
    template = Template((ROOT / "templates/project.yaml").read_text(), PLACE)
    rule = template.body["Resources"]["FailedDeploymentRule"]["Properties"]
    target = {**template.resolve(rule["Targets"][0]), "Arn": arn}
    events.put_rule(Name="failed-deployment", EventPattern=json.dumps(template.resolve(rule["EventPattern"])))
    events.put_targets(Rule="failed-deployment", Targets=[target])
    cloudformation = emulator.client("cloudformation")
    cloudformation.create_stack(StackName="sagemaker-p-ours-staging", TemplateBody=FAILING, OnFailure="ROLLBACK")

    (notice,) = wait_for(mail.read)

    assert "a deployment failed (ROLLBACK_COMPLETE)" in notice["Message"]
    stack = notice["Message"].rpartition("--stack-name ")[2].strip('"')
    reasons = [
        event.get("ResourceStatusReason", "")
        for event in cloudformation.describe_stack_events(StackName=stack)["StackEvents"]
    ]
    assert any("already exists" in reason for reason in reasons)
    assert mail.read(wait_seconds=2) == []
