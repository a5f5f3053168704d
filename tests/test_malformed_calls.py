"""Every emulated service answers a malformed call with an error as AWS does, and serves the next call."""

import base64
import gzip
import http.client
import json
from collections.abc import Callable
from functools import partial

import pytest
from botocore.exceptions import ClientError, ParamValidationError
from test_closed import code_of, signed

from rehearsal.server import ACCOUNT

# Services with a JSON protocol: (prefix of X-Amz-Target, an operation that lists something).
JSON = {
    "sagemaker": ("SageMaker", "ListProjects"),
    "servicecatalog": ("AWS242ServiceCatalogService", "ListPortfolios"),
    "codecommit": ("CodeCommit_20150413", "ListRepositories"),
    "codebuild": ("CodeBuild_20161006", "ListProjects"),
    "servicequotas": ("ServiceQuotasV20190624", "ListServiceQuotas"),
    "budgets": ("AWSBudgetServiceGateway", "DescribeBudgets"),
    "events": ("AWSEvents", "ListRules"),
    "logs": ("Logs_20140328", "DescribeLogGroups"),
    "kms": ("TrentService", "ListKeys"),
    "sqs": ("AmazonSQS", "ListQueues"),
    "ssm": ("AmazonSSM", "DescribeParameters"),
    "secretsmanager": ("secretsmanager", "ListSecrets"),
}
DEEP = b"[" * 100_000
BODIES = {
    "a-number": b"5",
    "null": b"null",
    "a-list": b"[]",
    "a-text": b'"x"',
    "no-json": b"{",
    "not-utf-8": b'{"a": "\xff"}',
    "deep": DEEP,
    "deep-and-closed": b'{"a":' * 2_000 + b"1" + b"}" * 2_000,
    "nul": b"\0",
}
# Values of the wrong type, tokens that no call returned, and texts that code might take for a format string.
STRANGE = [
    {"NextToken": "{0}"},
    {"NextToken": "x", "MaxResults": 1},
    {"nextToken": "-1"},
    {"MaxResults": "many"},
    {"ResourceArn": "arn:aws:{service}:{0}:%s:x"},
    {"Name": {"nested": ["x"]}},
    {"NextToken": 5},
    {"\ud800": "half of a pair"},
]


@pytest.fixture(scope="module")
def call(emulator) -> Callable[..., tuple[int, dict[str, str], bytes]]:
    def call(service: str, body: bytes, headers: dict[str, str], path: str = "/", method: str = "POST"):
        name = {"servicequotas": "servicequotas"}.get(service, service)
        connection = http.client.HTTPConnection("127.0.0.1", emulator.port, timeout=60)
        connection.request(method, path, body, signed(emulator, name, body, headers, path, method))
        response = connection.getresponse()
        found = response.status, dict(response.getheaders()), response.read()
        connection.close()
        return found

    return call


def target(service: str, operation: str = "") -> dict[str, str]:
    prefix, listing = JSON[service]
    return {"X-Amz-Target": f"{prefix}.{operation or listing}", "Content-Type": "application/x-amz-json-1.1"}


@pytest.mark.parametrize("service", JSON)
def test_a_body_that_is_no_object_is_refused_by_name(call, service):
    found = {name: call(service, body, target(service)) for name, body in BODIES.items()}

    assert {name: (response[0], code_of(response)) for name, response in found.items()} == dict.fromkeys(
        BODIES, (400, "SerializationException")
    )
    assert call(service, b"{}", target(service))[0] in (200, 400)


@pytest.mark.parametrize("service", JSON)
def test_strange_members_are_an_error_or_nothing_and_never_a_failure_of_the_emulator(call, service):
    for members in STRANGE:
        status, _, body = call(service, json.dumps(members).encode(), target(service))

        assert status in (200, 400), (members, status, body)
        assert b"InternalFailure" not in body
        assert b"InternalError" not in body


@pytest.mark.parametrize("service", JSON)
def test_an_operation_that_there_is_not_is_refused(call, service):
    status, _, body = call(service, b"{}", target(service, "Explode"))

    assert 400 <= status < 500, body
    assert body


QUERY = {
    "sts": "2011-06-15",
    "iam": "2010-05-08",
    "cloudformation": "2010-05-15",
    "sns": "2010-03-31",
    "ec2": "2016-11-15",
}


@pytest.mark.parametrize("service", QUERY)
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"Action=",
        b"Action=Explode",
        b"Action=%ff",
        b"\xff\xfe",
        b"Action=DescribeStacks&StackName={0}",
        b"Action=GetRole&RoleName=arn:aws:iam::{0}:role/{x}",
        b"Action=ListRoles&MaxItems=many",
        b"Action=Publish&TopicArn=arn:aws:sns:{0}",
        b"5",
    ],
)
def test_a_malformed_query_is_a_clients_error(call, service, body):
    version = b"&Version=" + QUERY[service].encode()
    status, _, said = call(service, body + version, {"Content-Type": "application/x-www-form-urlencoded"})

    assert 400 <= status < 500, said
    assert said


@pytest.mark.parametrize(
    "method, path, body",
    [
        ("GET", "/%ff%fe/key", b""),
        ("GET", "/no-such-bucket/key", b""),
        ("GET", "/no-such-bucket?list-type=2&max-keys=many", b""),
        ("GET", "/no-such-bucket?list-type=2&continuation-token={0}", b""),
        ("PUT", "/A_bad_name", b""),
        ("POST", "/no-such-bucket?delete", b"<Delete><Object>"),
        ("PUT", "/no-such-bucket?tagging", b"no xml"),
        ("POST", "/no-such-bucket/key?uploads&uploadId={0}", b"<x"),
        ("PUT", "/no-such-bucket?policy", b"{"),
    ],
)
def test_a_malformed_call_of_s3_is_a_clients_error(call, method, path, body):
    status, _, said = call("s3", body, {}, path, method)

    assert 400 <= status < 500, said
    assert said


CONFIGURATIONS = (
    "accelerate", "cors", "encryption", "lifecycle", "logging", "notification", "ownershipControls", "publicAccessBlock",
    "replication", "requestPayment", "tagging", "versioning", "website",
)  # fmt: skip
POLICIES = [
    b"", b"{", b"5", b"[]", b"null", b"\xff", DEEP, b'{"a":' * 2_000 + b"1" + b"}" * 2_000,
    b'{"Statement": 5}', b'{"Statement": [5]}', b'{"Statement": "x"}',
    b'{"Statement": {"Effect": "Allow", "Principal": "*", "Action": 5, "Resource": 5}}',
    b'{"Statement": {"Effect": ["Allow"], "Principal": 5, "Action": {"a": 1}, "Resource": [["x"]]}}',
]  # fmt: skip


def test_a_malformed_policy_or_deletion_of_a_bucket_that_is_there_is_a_clients_error(call, bucket):
    calls = [
        ("POST", f"/{bucket}?delete", b"<Delete><Object>"),
        ("PUT", f"/{bucket}?versioning", b"\xff"),
        *(("PUT", f"/{bucket}?{kind}", body) for kind in CONFIGURATIONS for body in (b"", b"5", b"<x", b"<Else/>")),
        ("PUT", f"/{bucket}?lifecycle", b"<LifecycleConfiguration/>"),
        *(("PUT", f"/{bucket}?policy", body) for body in POLICIES),
        ("GET", f"/{bucket}?versions&max-keys=many", b""),
    ]
    for method, path, body in calls:
        status, _, said = call("s3", body, {}, path, method)

        assert 400 <= status < 500, (path, body[:100], said)


@pytest.fixture(scope="module")
def role(make_role) -> str:
    return make_role("malformed", "lambda").rsplit("/", 1)[1]


@pytest.mark.parametrize("text", [body.decode(errors="replace") for body in POLICIES], ids=range(len(POLICIES)))
def test_a_malformed_policy_of_a_role_a_topic_or_a_queue_is_a_clients_error(emulator, role, text):
    iam, sqs, sns = (emulator.client(service) for service in ("iam", "sqs", "sns"))
    topic, queue = sns.create_topic(Name="malformed")["TopicArn"], sqs.create_queue(QueueName="malformed")["QueueUrl"]
    calls = [
        partial(iam.put_role_policy, RoleName=role, PolicyName="inline", PolicyDocument=text),
        partial(iam.update_assume_role_policy, RoleName=role, PolicyDocument=text),
        partial(iam.create_policy, PolicyName="managed", PolicyDocument=text),
        partial(sns.set_topic_attributes, TopicArn=topic, AttributeName="Policy", AttributeValue=text),
        partial(sqs.set_queue_attributes, QueueUrl=queue, Attributes={"Policy": text}),
    ]
    for call in calls[: 3 if not text else 5]:  # an empty text removes the policy of a topic or a queue
        with pytest.raises((ClientError, ParamValidationError)) as refused:
            call()
        if isinstance(refused.value, ClientError):
            assert 400 <= refused.value.response["ResponseMetadata"]["HTTPStatusCode"] < 500, (call, refused.value)


@pytest.mark.parametrize("name", ["{0}", "arn:aws:lambda:{x}:%s:function:x", "%00", "..%2f.."])
@pytest.mark.parametrize("body", [b"5", b"{", DEEP])
def test_a_malformed_invocation_is_a_clients_error(call, name, body):
    status, _, said = call(
        "lambda", body, {"Content-Type": "application/json"}, f"/2015-03-31/functions/{name}/invocations"
    )

    assert 400 <= status < 500, said
    assert said


# --- git ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "authorization",
    [
        "Basic !!!",
        "Basic " + base64.b64encode(b"\xff:\xfe").decode(),
        "Basic " + base64.b64encode(b"no colon").decode(),
        "Basic " + base64.b64encode(b"AKIA%token:20260101T000000Znosignature").decode(),
        "Basic " + base64.b64encode(f"{ACCOUNT}:20260101T000000Zguessed".encode()).decode(),
        "Basic",
        "Bearer x",
        "",
    ],
)
@pytest.mark.parametrize(
    "path", ["/v1/repos/none/info/refs?service=git-upload-pack", "/v1/repos/none/git-receive-pack", "/v1/repos/"]
)
def test_git_with_other_credentials_is_refused(emulator, authorization, path):
    connection = http.client.HTTPConnection("127.0.0.1", emulator.port, timeout=60)
    connection.request(
        "POST", path, gzip.compress(b"x")[:-2], {"Authorization": authorization, "Content-Encoding": "gzip"}
    )
    response = connection.getresponse()

    assert response.status in (401, 403)
    assert response.read()


def test_the_emulator_is_well_afterwards(emulator):
    assert emulator.client("sts").get_caller_identity()["Account"] == ACCOUNT
    assert emulator.client("sqs").list_queues()["ResponseMetadata"]["HTTPStatusCode"] == 200
