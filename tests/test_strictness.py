"""The emulator refuses, drops and delivers as AWS does, where ministack alone accepts anything."""

import io
import json
import re
import uuid
import zipfile
from typing import Any

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from conftest import ROOT, wait_for

from rehearsal.server import ACCOUNT, REGION, Emulator

UNCHECKED = Config(
    parameter_validation=False, retries={"max_attempts": 1}
)  # the emulator, not boto3, must refuse invalid parameters


def unique(name: str) -> str:
    return f"{name}-{uuid.uuid4().hex[:8]}"


def refusal(call: Any, **parameters: Any) -> tuple[str, str]:
    """Return error code and message of a call that must be refused."""
    with pytest.raises(ClientError) as refused:
        call(**parameters)
    return refused.value.response["Error"]["Code"], refused.value.response["Error"]["Message"]


def allow(service: str, action: str, resource: str, **more: Any) -> dict[str, Any]:
    principal = {"Service": f"{service}.amazonaws.com"}
    return {"Effect": "Allow", "Principal": principal, "Action": action, "Resource": resource} | more


def policy(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": statements})


def create_queue(aws: Emulator, *statements: dict[str, Any]) -> tuple[str, str]:
    """Create a queue, with a policy if there are statements; return its URL and its ARN."""
    name = unique("strict")
    attributes = {"Policy": policy(*statements)} if statements else {}
    url = aws.client("sqs").create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
    return url, f"arn:aws:sqs:{REGION}:{ACCOUNT}:{name}"


def received(aws: Emulator, queue: str, seconds: int = 1, count: int = 1) -> list[dict[str, Any]]:
    """Receive `count` times from a queue, waiting up to `seconds` each time; return the messages."""
    messages: list[dict[str, Any]] = []
    for _ in range(count):
        response = aws.client("sqs").receive_message(
            QueueUrl=queue, WaitTimeSeconds=seconds, MessageAttributeNames=["All"]
        )
        messages += response.get("Messages", [])
    return messages


# --- EventBridge -----------------------------------------------------------------------------------------------------


@pytest.fixture
def rule(emulator: Emulator) -> str:
    """Return the name of a new rule that matches events whose source is that name."""
    name = unique("strict")
    emulator.client("events").put_rule(Name=name, EventPattern=json.dumps({"source": [name]}))
    return name


def put_event(aws: Emulator, rule: str) -> None:
    aws.client("events").put_events(Entries=[{"Source": rule, "DetailType": "test", "Detail": '{"a": [1]}'}])


QUEUE = f"arn:aws:sqs:{REGION}:{ACCOUNT}:any"


@pytest.mark.parametrize(
    ("target", "code", "message"),
    [
        ({"RetryPolicy": {"MaximumRetryAttempts": 186}}, "ValidationException", "less than or equal to 185"),
        ({"RetryPolicy": {"MaximumEventAgeInSeconds": 59}}, "ValidationException", "greater than or equal to 60"),
        ({"Arn": "queue"}, "ValidationException", "Parameter queue is not valid. Reason: Provided Arn is not in correct format."),
        ({"Id": "a b"}, "ValidationException", "regular expression pattern"),
        ({"Input": "{"}, "ValidationException", "JSON syntax error in input for target one."),
        ({"Input": "1", "InputTransformer": {"InputTemplate": '"x"'}}, "ValidationException", "Only one of Input, InputPath"),
        ({"InputTransformer": {"InputTemplate": '"<unknown>"'}}, "ValidationException", "invalid placeholder unknown."),
    ],
)  # fmt: skip
def test_a_target_that_eventbridge_refuses_is_refused(emulator, rule, target, code, message):
    put = emulator.client("events", config=UNCHECKED).put_targets

    refused = refusal(put, Rule=rule, Targets=[{"Id": "one", "Arn": QUEUE} | target])

    assert refused[0] == code
    assert message in refused[1]


def test_a_rule_takes_five_targets(emulator, rule):
    events = emulator.client("events")
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


def test_a_stack_with_a_target_that_eventbridge_refuses_fails(emulator):
    cloudformation, stack = emulator.client("cloudformation"), unique("strict")
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
def test_an_event_reaches_a_queue_that_lets_the_rule_send(emulator, rule, statements, arrive):
    url, arn = create_queue(emulator, *statements)
    emulator.client("events").put_targets(Rule=rule, Targets=[{"Id": "queue", "Arn": arn}])

    put_event(emulator, rule)

    assert len(received(emulator, url)) == arrive


def test_an_event_that_may_not_be_delivered_is_kept_in_the_targets_dead_letter_queue(emulator, rule):
    (_, closed), (url, dead) = create_queue(emulator), create_queue(emulator, allow("events", "sqs:SendMessage", "*"))
    target = {"Id": "queue", "Arn": closed, "DeadLetterConfig": {"Arn": dead}}
    emulator.client("events").put_targets(Rule=rule, Targets=[target])

    put_event(emulator, rule)

    message = received(emulator, url)[0]
    assert json.loads(message["Body"])["source"] == rule
    assert message["MessageAttributes"]["ERROR_CODE"]["StringValue"] == "NO_PERMISSIONS"


# --- CloudWatch ------------------------------------------------------------------------------------------------------


def create_alarm(aws: Emulator, queue: str, topic: str) -> None:
    aws.client("cloudwatch").put_metric_alarm(
        AlarmName=queue, Namespace="AWS/SQS", MetricName="ApproximateNumberOfMessagesVisible",
        Dimensions=[{"Name": "QueueName", "Value": queue}], Statistic="Maximum", Period=60, EvaluationPeriods=1,
        Threshold=0, ComparisonOperator="GreaterThanThreshold", TreatMissingData="notBreaching", AlarmActions=[topic],
    )  # fmt: skip


def state(aws: Emulator, alarm: str) -> str:
    return aws.client("cloudwatch").describe_alarms(AlarmNames=[alarm])["MetricAlarms"][0]["StateValue"]


@pytest.mark.parametrize(
    ("source", "arrive"), [(f"arn:aws:cloudwatch:{REGION}:{ACCOUNT}:alarm:strict-*", 1), ("arn:aws:cloudwatch:*:alarm:other", 0)]
)  # fmt: skip
def test_an_alarm_sees_a_queues_messages_and_publishes_where_the_topic_lets_it(emulator, source, arrive):
    sns, (inbox, endpoint), (url, arn) = (
        emulator.client("sns"),
        create_queue(emulator, allow("sns", "sqs:*", "*")),
        create_queue(emulator),
    )
    topic, queue = sns.create_topic(Name=unique("strict"))["TopicArn"], arn.rsplit(":", 1)[-1]
    statement = allow("cloudwatch", "sns:Publish", topic, Condition={"ArnLike": {"aws:SourceArn": source}})
    sns.set_topic_attributes(TopicArn=topic, AttributeName="Policy", AttributeValue=policy(statement))
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=endpoint)
    create_alarm(emulator, queue, topic)
    emulator.client("sqs").send_message(QueueUrl=url, MessageBody="dead")

    wait_for(lambda: state(emulator, queue) == "ALARM")

    assert len(received(emulator, inbox)) == arrive


def section(name: str) -> str:
    """Return the YAML of a resource of the project template."""
    text = (ROOT / "templates/project.yaml").read_text()
    return re.search(rf"(?m)^  {name}:\n(?:    .*\n|\n)*", text)[0]


PROJECT = """
Parameters:
  SageMakerProjectId: {Type: String, Default: p-strict}
  SageMakerProjectName: {Type: String, Default: strict}
Conditions: {HasBudget: !Equals [a, b]}
Resources:
"""


def test_the_alarm_of_a_projects_dead_letters_reaches_its_topic(emulator):
    rules = r"(?s)          - Sid: TakeNoticesOfRules.*?(?=          - Sid: )"  # the rules are not in this template
    parts = [section(name) for name in ("Notices", "NoticesPolicy", "DeadLetters", "DeadLettersAlarm")]
    cloudformation, sns, (inbox, endpoint) = (
        emulator.client("cloudformation"),
        emulator.client("sns"),
        create_queue(emulator, allow("sns", "sqs:SendMessage", "*")),
    )
    template = PROJECT + re.sub(rules, "", "".join(parts))
    cloudformation.create_stack(StackName="strict-project", TemplateBody=template)
    cloudformation.get_waiter("stack_create_complete").wait(StackName="strict-project", WaiterConfig={"Delay": 1})
    topic = f"arn:aws:sns:{REGION}:{ACCOUNT}:sagemaker-p-strict-notices"
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=endpoint)

    url = emulator.client("sqs").get_queue_url(QueueName="sagemaker-p-strict-dead-letters")["QueueUrl"]
    emulator.client("sqs").send_message(QueueUrl=url, MessageBody="dead")

    notice = json.loads(received(emulator, inbox, seconds=20)[0]["Body"])
    assert notice["Subject"].startswith('ALARM: "sagemaker-p-strict-dead-letters"')


# --- Lambda ----------------------------------------------------------------------------------------------------------


def zipped(source: str) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("main.py", source)
    return data.getvalue()


@pytest.fixture(scope="module")
def function_role(make_role) -> str:
    return make_role("strict-function", "lambda", "sqs:SendMessage")


@pytest.fixture(scope="module")
def powerless_role(make_role) -> str:
    return make_role("strict-powerless", "lambda")


@pytest.fixture(scope="module")
def build_role(make_role) -> str:
    return make_role("strict-build", "codebuild")


def function(role: str, **more: Any) -> dict[str, Any]:
    """Return the parameters of a function that raises."""
    code = {"ZipFile": zipped("def handler(event, context):\n    raise ValueError('on purpose')\n")}
    defaults = {"FunctionName": unique("strict"), "Runtime": "python3.12", "Handler": "main.handler"}
    return defaults | {"Role": role, "Code": code} | more


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"Runtime": "python3.8"}, "The runtime parameter of python3.8 is no longer supported"),
        ({"Runtime": "python3.99"}, "Value 'python3.99' at 'runtime' failed to satisfy constraint"),
        ({"Timeout": 901}, "Value '901' at 'timeout' failed to satisfy constraint"),
        ({"Environment": {"Variables": {"LONG": "x" * 4096}}}, "exceeded the 4KB limit"),
        ({"Code": {"S3Bucket": "tests-111122223333", "S3Key": "none"}}, "S3 Error Code: NoSuchKey."),
        ({"Code": {"S3Bucket": "no-such-bucket", "S3Key": "none"}}, "S3 Error Code: NoSuchBucket."),
    ],
    ids=["deprecated", "unknown", "timeout", "environment", "no zip", "no bucket"],
)
def test_a_function_that_lambda_refuses_is_refused(emulator, bucket, function_role, more, message):
    refused = refusal(emulator.client("lambda", config=UNCHECKED).create_function, **function(function_role, **more))

    assert refused[0] == "InvalidParameterValueException"
    assert message in refused[1]


def test_a_role_that_lambda_may_not_assume_is_refused(emulator, build_role):
    refused = refusal(emulator.client("lambda").create_function, **function(build_role))

    assert refused[1] == "The role defined for the function cannot be assumed by Lambda."


def test_a_dead_letter_queue_that_the_functions_role_may_not_send_to_is_refused(emulator, powerless_role):
    dead = {"TargetArn": create_queue(emulator)[1]}

    refused = refusal(emulator.client("lambda").create_function, **function(powerless_role, DeadLetterConfig=dead))

    assert refused[1] == "The provided execution role does not have permissions to call SendMessage on SQS"


FUNCTION = """
Resources:
  Function:
    Type: AWS::Lambda::Function
    Properties: {Role: "%s", Runtime: python3.12, Handler: main.handler, Code: {ZipFile: "x = 1"}}
"""


def test_a_stack_with_a_function_that_lambda_refuses_fails(emulator, build_role):
    cloudformation, stack = emulator.client("cloudformation"), unique("strict")
    template = FUNCTION % build_role
    cloudformation.create_stack(StackName=stack, TemplateBody=template, OnFailure="DO_NOTHING")

    reasons = wait_for(lambda: failures(cloudformation, stack))

    assert "cannot be assumed by Lambda" in reasons[0]


def test_an_event_on_which_a_function_fails_is_tried_three_times_and_kept_as_it_came(emulator, function_role):
    functions, logs, (url, dead) = emulator.client("lambda"), emulator.client("logs"), create_queue(emulator)
    name = functions.create_function(**function(function_role, DeadLetterConfig={"TargetArn": dead}))["FunctionName"]
    functions.get_waiter("function_active_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1})

    functions.invoke(FunctionName=name, InvocationType="Event", Payload='{"number": 1}')

    message = received(emulator, url, seconds=20)[0]
    lines = logs.filter_log_events(logGroupName=f"/aws/lambda/{name}", filterPattern="START")["events"]
    assert len(lines) == 3
    assert json.loads(message["Body"]) == {"number": 1}
    assert message["MessageAttributes"]["ErrorMessage"]["StringValue"] == "on purpose"


def test_what_an_asynchronous_function_returns_goes_to_its_destination(emulator, function_role):
    functions, (url, arn) = emulator.client("lambda"), create_queue(emulator)
    code = {"ZipFile": zipped("def handler(event, context):\n    return event['number'] + 1\n")}
    name = functions.create_function(**function(function_role, Code=code))["FunctionName"]
    functions.get_waiter("function_active_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1})
    destination = {"OnSuccess": {"Destination": arn}}
    functions.put_function_event_invoke_config(FunctionName=name, DestinationConfig=destination)

    functions.invoke(FunctionName=name, InvocationType="Event", Payload='{"number": 1}')

    record = json.loads(received(emulator, url, seconds=20)[0]["Body"])
    assert (record["requestContext"]["condition"], record["responsePayload"]) == ("Success", 2)


@pytest.mark.parametrize("permitted", [True, False])
def test_a_topic_invokes_a_function_that_lets_it(emulator, function_role, permitted):
    functions, sns, (url, dead) = emulator.client("lambda"), emulator.client("sns"), create_queue(emulator)
    created = functions.create_function(**function(function_role, DeadLetterConfig={"TargetArn": dead}))
    name, topic = created["FunctionName"], sns.create_topic(Name=unique("strict"))["TopicArn"]
    functions.get_waiter("function_active_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1})
    functions.put_function_event_invoke_config(FunctionName=name, MaximumRetryAttempts=0)
    source = topic if permitted else f"{topic}-other"
    action = {"Action": "lambda:InvokeFunction", "Principal": "sns.amazonaws.com", "SourceArn": source}
    functions.add_permission(FunctionName=name, StatementId="sns", **action)
    sns.subscribe(TopicArn=topic, Protocol="lambda", Endpoint=created["FunctionArn"])

    sns.publish(TopicArn=topic, Message="message")

    assert len(received(emulator, url, seconds=20 if permitted else 2)) == permitted


# --- S3 --------------------------------------------------------------------------------------------------------------


def test_more_than_a_thousand_objects_in_one_deletion_are_refused(emulator, bucket):
    objects = [{"Key": str(number)} for number in range(1001)]

    assert (
        refusal(emulator.client("s3").delete_objects, Bucket=bucket, Delete={"Objects": objects})[0] == "MalformedXML"
    )


BUCKET = """
Resources:
  Bucket:
    Type: AWS::S3::Bucket
    Properties:
      BucketName: %s
      LifecycleConfiguration:
        Rules:
          - {Id: Old, Status: Enabled, NoncurrentVersionExpiration: {NoncurrentDays: 90}}
          - {Id: Parts, Status: Enabled, Prefix: runs/, AbortIncompleteMultipartUpload: {DaysAfterInitiation: 7}}
      Tags: [{Key: team, Value: vision}]
"""


def test_lifecycle_rules_and_tags_of_a_templates_bucket_are_its_own(emulator):
    cloudformation, s3, name = emulator.client("cloudformation"), emulator.client("s3"), unique("strict")
    cloudformation.create_stack(StackName=name, TemplateBody=BUCKET % name)
    cloudformation.get_waiter("stack_create_complete").wait(StackName=name, WaiterConfig={"Delay": 1})

    rules = s3.get_bucket_lifecycle_configuration(Bucket=name)["Rules"]

    assert {rule["ID"]: rule["Filter"] for rule in rules} == {"Old": {"Prefix": ""}, "Parts": {"Prefix": "runs/"}}
    assert rules[0]["NoncurrentVersionExpiration"] == {"NoncurrentDays": 90}
    assert {"Key": "team", "Value": "vision"} in s3.get_bucket_tagging(Bucket=name)["TagSet"]


STATEMENT = {
    "Effect": "Allow",
    "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"},
    "Action": "s3:GetObject",
    "Resource": "arn:aws:s3:::tests-111122223333/*",
}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"Resource": "arn:aws:s3:::another/*"}, "Policy has invalid resource"),
        ({"Action": "sqs:SendMessage"}, "Policy has invalid action"),
        ({"Effect": "allow"}, "Invalid effect: allow"),
    ],
)
def test_a_bucket_policy_that_s3_refuses_is_refused(emulator, bucket, changes, message):
    put = emulator.client("s3").put_bucket_policy

    assert refusal(put, Bucket=bucket, Policy=policy(STATEMENT | changes)) == ("MalformedPolicy", message)


# --- SNS and SQS -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("subject", ["x" * 101, "two\nlines"])
def test_a_subject_that_is_too_long_or_has_line_breaks_is_refused(emulator, subject):
    sns = emulator.client("sns")
    topic = sns.create_topic(Name=unique("strict"))["TopicArn"]

    refused = refusal(sns.publish, TopicArn=topic, Message="message", Subject=subject)

    assert refused == ("InvalidParameter", "Invalid parameter: Subject")


@pytest.mark.parametrize(
    ("attributes", "code"),
    [
        ({"Policy": "{"}, "InvalidAttributeValue"),
        ({"Unknown": "1"}, "InvalidAttributeName"),
        ({}, "InvalidParameterValue"),
    ],
)
def test_a_queue_that_sqs_refuses_is_refused(emulator, attributes, code):
    name = unique("strict") if attributes else "with a blank"

    assert refusal(emulator.client("sqs").create_queue, QueueName=name, Attributes=attributes)[0].endswith(code)


def test_a_deny_in_the_policy_of_a_queue_or_a_topic_holds_for_people(emulator):
    everybody = {"Effect": "Deny", "Principal": "*", "Resource": "*"}
    sns, (url, _) = emulator.client("sns"), create_queue(emulator, everybody | {"Action": "sqs:SendMessage"})
    topic = sns.create_topic(Name=unique("strict"))["TopicArn"]
    denied = policy(everybody | {"Action": "sns:Publish"})
    sns.set_topic_attributes(TopicArn=topic, AttributeName="Policy", AttributeValue=denied)

    sent = refusal(emulator.client("sqs").send_message, QueueUrl=url, MessageBody="message")
    published = refusal(sns.publish, TopicArn=topic, Message="message")

    assert {sent[0], published[0]} <= {"AccessDenied", "AccessDeniedException", "AuthorizationError"}


# --- IAM -------------------------------------------------------------------------------------------------------------

TRUST = allow("lambda", "sts:AssumeRole", "*")
del TRUST["Resource"]
NOBODY = f"arn:aws:iam::{ACCOUNT}:role/no-such-role"


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        (TRUST | {"Resource": "*"}, "Has prohibited field Resource"),
        (TRUST | {"Action": "s3:GetObject"}, "AssumeRole policy may only specify STS AssumeRole actions."),
        (TRUST | {"Principal": {"AWS": NOBODY}}, f'Invalid principal in policy: "AWS":"{NOBODY}"'),
        ({"Effect": "Allow", "Action": "sts:AssumeRole"}, "Missing required field Principal"),
        (
            TRUST | {"Condition": {"StringEquls": {"aws:SourceAccount": ACCOUNT}}},
            "Invalid Condition type : StringEquls.",
        ),
    ],
)
def test_a_trust_policy_that_iam_refuses_is_refused(emulator, statement, message):
    create = emulator.client("iam").create_role

    refused = refusal(create, RoleName=unique("strict"), AssumeRolePolicyDocument=policy(statement))

    assert refused == ("MalformedPolicyDocument", message)


READ = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}
LONG = READ | {"Resource": [f"arn:aws:s3:::{'x' * 60}{number}" for number in range(80)]}  # about 6,000 characters


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        (READ | {"Resource": "bucket"}, 'Resource bucket must be in ARN format or "*".'),
        (READ | {"Action": "GetObject"}, "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc."),
        (READ | {"Principal": "*"}, "Policy document should not specify a principal."),
        (READ | {"Efect": "Deny"}, "Syntax errors in policy."),
    ],
)
def test_an_inline_policy_that_iam_refuses_is_refused(emulator, function_role, statement, message):
    parts = {"RoleName": "strict-function", "PolicyName": "wrong", "PolicyDocument": policy(statement)}

    assert refusal(emulator.client("iam").put_role_policy, **parts) == ("MalformedPolicyDocument", message)


def test_inline_policies_that_are_too_long_together_are_refused(emulator, make_role):
    iam, role = emulator.client("iam"), make_role(unique("strict"), "lambda").rsplit("/", 1)[-1]
    iam.put_role_policy(RoleName=role, PolicyName="first", PolicyDocument=policy(LONG))

    refused = refusal(iam.put_role_policy, RoleName=role, PolicyName="second", PolicyDocument=policy(LONG))

    assert refused == ("LimitExceeded", f"Maximum policy size of 10240 bytes exceeded for role {role}")


ROLE = """
Resources:
  Role:
    Type: AWS::IAM::Role
    Properties:
      AssumeRolePolicyDocument: %s
      Policies: [{PolicyName: one, PolicyDocument: %s}, {PolicyName: two, PolicyDocument: %s}]
"""


def test_a_stack_with_a_role_that_iam_refuses_fails(emulator):
    cloudformation, stack = emulator.client("cloudformation"), unique("strict")
    template = ROLE % (policy(TRUST), policy(LONG), policy(LONG))
    cloudformation.create_stack(
        StackName=stack, TemplateBody=template, OnFailure="DO_NOTHING", Capabilities=["CAPABILITY_IAM"]
    )

    reasons = wait_for(lambda: failures(cloudformation, stack))

    assert "Maximum policy size of 10240 bytes exceeded" in reasons[0]


WRONG = {"Version": "2012-10-17", "Statement": [{"Efect": "Allow"}]}


@pytest.mark.parametrize(
    ("kind", "properties"),
    [
        ("AWS::IAM::ManagedPolicy", {}),
        ("AWS::SNS::TopicPolicy", {"Topics": [f"arn:aws:sns:{REGION}:{ACCOUNT}:any"]}),
        ("AWS::SQS::QueuePolicy", {"Queues": [f"http://sqs.{REGION}.localhost/{ACCOUNT}/any"]}),
        ("AWS::S3::BucketPolicy", {"Bucket": "tests-111122223333"}),
    ],
)
def test_a_stack_with_a_malformed_policy_fails(emulator, bucket, kind, properties):
    cloudformation, stack = emulator.client("cloudformation"), unique("strict")
    resource = {"Type": kind, "Properties": properties | {"PolicyDocument": WRONG}}
    template, capabilities = json.dumps({"Resources": {"Policy": resource}}), ["CAPABILITY_IAM"]
    cloudformation.create_stack(
        StackName=stack, TemplateBody=template, OnFailure="DO_NOTHING", Capabilities=capabilities
    )

    assert wait_for(lambda: failures(cloudformation, stack))
