"""The one place that knows ministack's insides. `tests/test_adapter.py` tells when an upgrade breaks it.

Seams used: the router's service patterns and handlers, the IAM action, resource and tag extraction, STS sessions,
CloudFormation's resource handlers, EventBridge's targets, CodeBuild's executor, and the log store.
"""

import asyncio
import contextvars
import hmac
import json
import logging
import os
import re
import threading
import time
import uuid
from collections.abc import Awaitable, Callable, Iterable
from typing import Any
from urllib.parse import parse_qs

import botocore.config
import botocore.session
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from ministack import app as ministack_app
from ministack.core import concurrency, iam_actions, iam_evaluator, router
from ministack.core.arn import parse_arn
from ministack.core.responses import request_scope
from ministack.services import cloudwatch_logs, codebuild, ec2, eventbridge, iam, lambda_svc, s3, sns, sts, tagging
from ministack.services.cloudformation import provisioners, stacks

from rehearsal.aws import acting

ACCOUNT, REGION = "111122223333", "us-east-1"
Response = tuple[int, dict[str, str], bytes]
Handler = Callable[[str, str, dict[str, str], bytes, dict[str, list[str]]], Response]
ResourceOf = Callable[[str, dict[str, Any], str], str]

logger = logging.getLogger("rehearsal")

_worker_thread_types: set[str] = set()
_resources_of: dict[str, ResourceOf] = {}
_target_services: dict[str, Callable[[dict[str, Any], str | None], None]] = {}


class AccessDenied(Exception):
    """A principal may not do what it tried; the message is AWS's."""


def endpoint() -> str:
    """The address of the played AWS."""
    return f"http://127.0.0.1:{os.environ['GATEWAY_PORT']}"


# --- services -----------------------------------------------------------------------------------------------------


def add_service(name: str, target_prefix: str | None, handle: Handler, resource_of: ResourceOf) -> None:
    """Route a service's requests to `handle`, on a thread of its own, after IAM allowed its action on its resource.

    `resource_of(operation, body, path)` answers the ARN that the operation's policy is evaluated against.
    """

    async def on_thread(
        method: str, path: str, headers: dict[str, str], body: bytes, query: dict[str, list[str]]
    ) -> Response:
        return await concurrency.run_reentrant(handle, method, path, headers, body, query)

    router.SERVICE_PATTERNS[name] = {"target_prefixes": [target_prefix]} if target_prefix else {}
    ministack_app.SERVICE_HANDLERS[name] = on_thread
    iam_actions.SERVICE_TO_IAM_NAMESPACE[name] = name
    authorize_on(name, resource_of)


def call_in_policies(service: str, namespace: str) -> None:
    """Say by which name policies know a service, where it is another than the service's own."""
    iam_actions.SERVICE_TO_IAM_NAMESPACE[service] = namespace


def authorize_on(service: str, resource_of: ResourceOf) -> None:
    """Say which ARN the policies for a service's operations are evaluated against."""
    _resources_of[service] = resource_of


def add_tags(service: str, tagged: Callable[[], Iterable[tuple[str, list[dict[str, str]]]]]) -> None:
    """Say which resources of a service have which tags, for policies with a condition on aws:ResourceTag."""
    tagging._RESOURCE_TAG_COLLECTORS[service] = tagged


def _extract_iam_action(
    service: str, method: str, path: str, headers: dict[str, str], body: bytes, query: dict[str, Any]
) -> str | None:
    if service == "sagemaker" and path.endswith("/invocations"):
        return "sagemaker:InvokeEndpoint"
    return _original_action(service, method, path, headers, body, query)


def _extract_resource_arn(
    service: str,
    method: str,
    path: str,
    headers: dict[str, str],
    body: bytes,
    query: dict[str, Any],
    region: str,
    account: str,
) -> str:
    if service in _resources_of:
        operation = headers.get("x-amz-target", "").rsplit(".", 1)[-1]
        try:
            parameters = json.loads(body) if operation and body else {}
        except ValueError:
            parameters = {}
        return _resources_of[service](operation, parameters, path)
    return _original_resource(service, method, path, headers, body, query, region, account)


def _request_context(service: str, action: str, body: bytes, query: dict[str, Any]) -> dict[str, Any]:
    context = _original_context(service, action, body, query)
    if service == "sagemaker" and action.startswith("sagemaker:Create"):
        try:
            context |= acting.network_context(json.loads(body or b"{}"))
        except (ValueError, AttributeError, LookupError, TypeError):
            pass  # no such request: its own checks say so
    return context


_original_context = iam_actions.request_tag_context
iam_actions.request_tag_context = _request_context
_original_action, _original_resource = iam_actions.extract_iam_action, iam_actions.extract_resource_arn
iam_actions.extract_iam_action = _extract_iam_action
iam_actions.extract_resource_arn = _extract_resource_arn


# --- identities ---------------------------------------------------------------------------------------------------


def credentials_of(role_arn: str, session_name: str, service: str) -> dict[str, str]:
    """What a service gets when it assumes a role. Raises AccessDenied when the role's trust policy refuses it."""
    name = role_arn.rsplit("/", 1)[-1]
    with request_scope(ACCOUNT, REGION):
        role = iam._roles.get(name)
    if role is None or not _trusts(role["AssumeRolePolicyDocument"], service):
        raise AccessDenied(f"{service} is not authorized to assume role {role_arn}")
    access_key, secret, token = f"ASIA{uuid.uuid4().hex[:16].upper()}", uuid.uuid4().hex, uuid.uuid4().hex
    sts.register_session(
        access_key,
        {
            "Arn": f"arn:aws:sts::{ACCOUNT}:assumed-role/{name}/{session_name[:64]}",
            "UserId": f"{name}:{session_name[:64]}",
            "SecretAccessKey": secret,
            "SessionToken": token,
        },
    )
    return {"AWS_ACCESS_KEY_ID": access_key, "AWS_SECRET_ACCESS_KEY": secret, "AWS_SESSION_TOKEN": token}


def root_credentials() -> dict[str, str]:
    """Of the account itself, for what AWS does on its own behalf."""
    return {"AWS_ACCESS_KEY_ID": ACCOUNT, "AWS_SECRET_ACCESS_KEY": os.environ["AWS_SECRET_ACCESS_KEY"]}


def _trusts(document: str | dict[str, Any], service: str) -> bool:
    """Whether a trust policy lets a service of this account assume the role."""
    policy = json.loads(document) if isinstance(document, str) else document
    context = iam_evaluator.EvalContext(
        principal_arn=f"arn:aws:iam::{ACCOUNT}:service/{service}",
        principal_type="Service",
        principal_account=ACCOUNT,
        action="sts:AssumeRole",
        resource_arn="*",
        region=REGION,
        service_context={"aws:sourceaccount": ACCOUNT},
    )
    return any(
        statement["Effect"] == "Allow"
        and iam_evaluator._service_principal_matches(statement.get("Principal"), service)
        and iam_evaluator._conditions_met(statement.get("Condition", {}), context)
        for statement in policy["Statement"]
    )


def caller_may(access_key: str, action: str, resource: str, context: dict[str, Any] | None = None) -> None:
    """Raise AccessDenied unless the caller's policies allow an action that its request implies (as iam:PassRole)."""
    denied = iam_evaluator.enforce(access_key, action, action.split(":")[0], REGION, resource, context)
    if denied is not None:
        who = getattr(denied, "principal_arn", None) or "the caller"
        raise AccessDenied(f"User: {who} is not authorized to perform: {action} on resource: {resource}")


def role_of(access_key: str) -> str | None:
    """The ARN of the role behind an access key; None for the account's root user."""
    found = iam_evaluator.resolve_credential(access_key, ACCOUNT)
    if isinstance(found, iam_evaluator.CredentialResolutionError) or ":assumed-role/" not in found.principal_arn:
        return None
    with request_scope(ACCOUNT, REGION):
        return iam._roles[found.principal_arn.split("/")[1]]["Arn"]


def verify_git_signature(username: str, password: str, host: str, path: str) -> str:
    """The access key behind `aws codecommit credential-helper`'s answer. Raises AccessDenied for a wrong signature.

    The helper signs the request "GIT <path>" with Signature Version 4 (awscli/customizations/codecommit.py).
    """
    access_key, _, token = username.partition("%")
    found = iam_evaluator.resolve_credential(access_key, ACCOUNT, token or None)
    stamp, _, signature = password.partition("Z")
    if isinstance(found, iam_evaluator.CredentialResolutionError):
        raise AccessDenied(found.message)
    auth = SigV4Auth(Credentials(access_key, found.secret_access_key), "codecommit", REGION)
    request = AWSRequest(method="GIT", url=f"http://{host}{path}")
    request.context["timestamp"] = stamp
    canonical = f"GIT\n{path}\n\nhost:{host}\n\nhost\n"
    expected = auth.signature(auth.string_to_sign(request, canonical), request)
    if not hmac.compare_digest(expected, signature):
        raise AccessDenied("the git credentials' signature does not match")
    return access_key


def git_may(access_key: str, action: str, resource: str) -> None:
    """Raise AccessDenied unless the policies behind an access key, verified before, allow a git action."""
    with request_scope(ACCOUNT, REGION):
        principal = iam_evaluator.resolve_principal(access_key, ACCOUNT)
        if isinstance(principal, iam_evaluator.AuthError):
            raise AccessDenied(principal.message)
        if principal.policies is None:
            return
        context = iam_evaluator.EvalContext(
            principal_arn=principal.arn,
            principal_type=principal.type,
            principal_account=principal.account,
            action=action,
            resource_arn=resource,
            region=REGION,
            service_context={},
            principal_keys=principal.keys,
        )
        if iam_evaluator.evaluate(context, principal.policies, *principal.limits).decision != "Allow":
            raise AccessDenied(f"User: {principal.arn} is not authorized to perform: {action} on resource: {resource}")


# One session, so that service models are read once; it may make one client at a time.
_session = botocore.session.Session(session_vars={"profile": (None, None, None, None)})
_session_lock = threading.Lock()


def client(service: str, credentials: dict[str, str]) -> Any:
    """A botocore client of the played AWS with somebody's credentials."""
    with _session_lock:
        return _session.create_client(
            service,
            region_name=REGION,
            endpoint_url=endpoint(),
            aws_access_key_id=credentials["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=credentials["AWS_SECRET_ACCESS_KEY"],
            aws_session_token=credentials.get("AWS_SESSION_TOKEN"),
            config=botocore.config.Config(s3={"addressing_style": "path"}, retries={"max_attempts": 2}),
        )


def vpc_of(kind: str, name: str) -> str | None:
    """The VPC that a subnet or a security group is in; None where there is no such one."""
    with request_scope(ACCOUNT, REGION):
        ec2._init_defaults()
        found = (ec2._subnets if kind == "subnet" else ec2._security_groups).get(name)
    return found and found["VpcId"]


# --- CloudFormation -----------------------------------------------------------------------------------------------

Create = Callable[[str, dict[str, Any], str], tuple[str, dict[str, Any]]]
Update = Callable[[str, dict[str, Any], dict[str, Any], str], tuple[str, dict[str, Any]]]
Delete = Callable[[str, dict[str, Any]], None]


def add_resource_type(name: str, create: Create, update: Update, delete: Delete) -> None:
    """Teach CloudFormation a resource type: create(logical id, properties, stack) -> (physical id, attributes)."""
    provisioners._RESOURCE_HANDLERS[name] = {"create": create, "update": update, "delete": delete}
    _worker_thread_types.add(name)


def _runs_on_worker_thread(resource_type: str) -> bool:
    return resource_type in _worker_thread_types or _original_worker(resource_type)


_original_worker = stacks._runs_on_worker_thread
stacks._runs_on_worker_thread = _runs_on_worker_thread


def _delete_bucket(physical_id: str, properties: dict[str, Any]) -> None:
    """As AWS: a bucket that holds anything, were it a delete marker, is not deleted with its stack."""
    held = client("s3", root_credentials()).list_object_versions(Bucket=physical_id, MaxKeys=1)
    if held.get("Versions") or held.get("DeleteMarkers"):
        raise ValueError(f"The bucket you tried to delete is not empty. You must delete all versions in {physical_id}.")
    _original_delete_bucket(physical_id, properties)


def _update_bucket(physical_id: str, old: dict[str, Any], new: dict[str, Any], *more: Any) -> Any:
    note_key({**new, "BucketName": physical_id})
    return _original_update_bucket(physical_id, old, new, *more)


_original_update_bucket = provisioners._RESOURCE_HANDLERS["AWS::S3::Bucket"]["update"]
provisioners._RESOURCE_HANDLERS["AWS::S3::Bucket"]["update"] = _update_bucket
_original_delete_bucket = provisioners._RESOURCE_HANDLERS["AWS::S3::Bucket"]["delete"]
provisioners._RESOURCE_HANDLERS["AWS::S3::Bucket"]["delete"] = _delete_bucket
_worker_thread_types.add("AWS::S3::Bucket")


# --- what a key encrypts ------------------------------------------------------------------------------------------

_bucket_keys: dict[str, str] = {}  # bucket -> ARN of the key that encrypts what is written to it
# docs.aws.amazon.com/AmazonS3/latest/userguide/UsingKMSEncryption.html: what a caller needs besides its rights in S3.
_KEY_ACTIONS = {"GET": ["kms:Decrypt"], "PUT": ["kms:GenerateDataKey"], "POST": ["kms:GenerateDataKey", "kms:Decrypt"]}

_NOT_CONTENT = {"acl", "attributes", "legal-hold", "retention", "tagging"}


def note_key(properties: dict[str, Any]) -> None:
    """Remember the key of a bucket, where its template gives it one."""
    _bucket_keys.pop(properties["BucketName"], None)
    for rule in properties.get("BucketEncryption", {}).get("ServerSideEncryptionConfiguration", []):
        if key := rule["ServerSideEncryptionByDefault"].get("KMSMasterKeyID"):
            _bucket_keys[properties["BucketName"]] = key


async def _s3(method: str, path: str, headers: dict[str, str], body: bytes, query: dict[str, list[str]]) -> Response:
    """Ask for the rights on a bucket's key, as S3 does; what is stored is not encrypted."""
    bucket, _, name = path.lstrip("/").partition("/")
    asked = [(bucket, action) for action in _KEY_ACTIONS.get(method, []) if name and not _NOT_CONTENT & query.keys()]
    if source := headers.get("x-amz-copy-source"):
        asked.append((source.lstrip("/").split("/")[0], "kms:Decrypt"))
    access_key = router.extract_access_key_id(headers, query)
    for of, action in asked:
        try:
            if access_key and of in _bucket_keys:
                caller_may(access_key, action, _bucket_keys[of])
        except AccessDenied as denied:
            return s3._error("AccessDenied", str(denied), 403)
    return await _original_s3(method, path, headers, body, query)


_original_s3 = ministack_app.SERVICE_HANDLERS["s3"]
ministack_app.SERVICE_HANDLERS["s3"] = _s3


# --- who a stack acts as --------------------------------------------------------------------------------------------

_acts_as: dict[str, dict[str, str]] = {}  # stack name -> credentials of the role that it acts with
# Stack name -> custom resource that could not be deleted: AWS keeps what that needs, ministack goes on with it.
_stopped_deletes: dict[str, str] = {}


async def _cloudformation(
    method: str, path: str, headers: dict[str, str], body: bytes, query: dict[str, list[str]]
) -> Response:
    """Remember who a stack acts as: the role that its request hands over, or whoever sends the request."""
    form = {key: values[0] for key, values in {**parse_qs(body.decode()), **query}.items()}
    name = form.get("StackName", "").rsplit(":stack/", 1)[-1].split("/")[0]
    if form.get("Action") in ("CreateStack", "UpdateStack", "DeleteStack"):
        _stopped_deletes.pop(name, None)
        access_key = re.search(r"Credential=([^/,\s]+)/", headers.get("authorization", ""))
        caller = role_of(access_key.group(1)) if access_key else None
        try:
            if role := form.get("RoleARN"):
                caller_may(
                    access_key.group(1), "iam:PassRole", role, {"iam:PassedToService": "cloudformation.amazonaws.com"}
                )
                _acts_as[name] = credentials_of(role, "AWSCloudFormation", "cloudformation.amazonaws.com")
            elif caller:
                _acts_as[name] = {"AWS_ACCESS_KEY_ID": access_key.group(1)}
        except AccessDenied as denied:
            text = f"<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>{denied}</Message></Error></ErrorResponse>"
            return 403, {"Content-Type": "text/xml"}, text.encode()
    return await _original_cloudformation(method, path, headers, body, query)


def _require(resource_type: str, operation: str, properties: dict[str, Any], stack_name: str | None) -> None:
    """Raise ValueError unless the stack's role may do what CloudFormation does to a resource."""
    credentials = _acts_as.get(stack_name or "")
    for action, resource, context in acting.needed(resource_type, operation, properties) if credentials else []:
        try:
            caller_may(credentials["AWS_ACCESS_KEY_ID"], action, resource, context)
        except AccessDenied as denied:
            raise ValueError(str(denied)) from denied


def _provision_resource(resource_type: str, logical_id: str, props: dict, stack_name: str) -> tuple:
    _require(resource_type, "create", props, stack_name)
    made = _original_provision(resource_type, logical_id, props, stack_name)
    if resource_type == "AWS::IAM::Role" and "PermissionsBoundary" in props:  # ministack drops it
        iam._roles[made[0]]["PermissionsBoundary"] = props["PermissionsBoundary"]
    if resource_type == "AWS::S3::Bucket" and "BucketName" in props:  # and this
        note_key(props)
    if resource_type == "AWS::Lambda::Function" and "DeadLetterConfig" in props:  # and this
        lambda_svc._functions[props["FunctionName"]]["config"]["DeadLetterConfig"] = props["DeadLetterConfig"]
    return made


def _delete_resource(
    resource_type: str, physical_id: str, props: dict, stack_name: str | None = None, logical_id: str | None = None
) -> None:
    if stack_name in _stopped_deletes:
        raise ValueError(f"not tried: {_stopped_deletes[stack_name]}, which needs it, could not be deleted")
    _require(resource_type, "delete", props, stack_name)
    try:
        _original_delete(resource_type, physical_id, props, stack_name, logical_id)
    except Exception:
        if resource_type.startswith("Custom::") and stack_name:
            _stopped_deletes[stack_name] = logical_id or resource_type
        raise


_original_cloudformation = ministack_app.SERVICE_HANDLERS["cloudformation"]
ministack_app.SERVICE_HANDLERS["cloudformation"] = _cloudformation
_original_provision, _original_delete = stacks._provision_resource, stacks._delete_resource
stacks._provision_resource, stacks._delete_resource = _provision_resource, _delete_resource


def physical_name(stack: str, logical_id: str, longest: int) -> str:
    """A name as CloudFormation makes it: stack, logical id and a random end."""
    tail = f"-{logical_id}-{uuid.uuid4().hex[:12]}"
    return stack[: longest - len(tail)] + tail


# --- events -------------------------------------------------------------------------------------------------------


def raise_event(source: str, detail_type: str, detail: dict[str, Any], resources: list[str]) -> None:
    """Raise an event of an AWS service, which its rules then match."""
    entry = {"Source": source, "DetailType": detail_type, "Detail": json.dumps(detail), "Resources": resources}

    def put() -> None:
        with request_scope(ACCOUNT, REGION):
            eventbridge._put_events({"Entries": [entry]}, allow_aws_source=True)

    on_loop(put)


def add_target(service: str, deliver: Callable[[dict[str, Any], str | None], None]) -> None:
    """Deliver events to targets of a service: deliver(target, transformed input)."""
    _target_services[service] = deliver


def _invoke_target(target: dict[str, Any], event: dict[str, Any], rule: dict[str, Any], view: Any = None) -> None:
    service = parse_arn(target["Arn"]).service
    if service == "lambda" and not _rule_may_invoke(rule["Arn"], target["Arn"]):
        logger.warning("rule %s has no permission to invoke %s: its event is dropped", rule["Arn"], target["Arn"])
        return
    if service == "sns" and not _rule_may_publish(rule["Arn"], target["Arn"]):
        logger.warning("rule %s may not publish to %s: its event is dropped", rule["Arn"], target["Arn"])
        return
    if service not in _target_services:
        _original_invoke(target, event, rule, view)
        return
    given = None
    if target.get("InputTransformer"):
        view = view or eventbridge._pattern_event_view(event)
        given = eventbridge._apply_input_transformer(target["InputTransformer"], rule, view)
    in_background(_target_services[service], target, given)


def _rule_may_invoke(rule: str, function: str) -> bool:
    """Whether a function's own policy lets a rule invoke it: ministack does not ask, AWS does."""
    record = lambda_svc._functions.get(function.rsplit(":", 1)[-1])
    return record is not None and _rule_may(rule, "lambda:InvokeFunction", function, record["policy"])


def _rule_may_publish(rule: str, topic: str) -> bool:
    """Whether a topic's own policy lets a rule publish to it."""
    record = sns._topics.get(topic)
    policy = json.loads((record or {}).get("attributes", {}).get("Policy") or '{"Statement": []}')
    return _rule_may(rule, "sns:Publish", topic, policy)


def _rule_may(rule: str, action: str, resource: str, policy: dict[str, Any]) -> bool:
    """Whether a resource's policy allows EventBridge an action on behalf of a rule."""
    context = iam_evaluator.EvalContext(
        principal_arn="events.amazonaws.com",
        principal_type="Service",
        principal_account=ACCOUNT,
        action=action,
        resource_arn=resource,
        region=REGION,
        service_context={"aws:sourcearn": rule, "aws:sourceaccount": ACCOUNT},
    )
    return any(
        statement["Effect"] == "Allow"
        and iam_evaluator._service_principal_matches(statement.get("Principal"), "events.amazonaws.com")
        and iam_evaluator._conditions_met(statement.get("Condition", {}), context)
        for statement in policy["Statement"]
    )


def _dispatch_to_lambda(function: str, payload: str) -> None:
    """As AWS: Lambda takes an event at once, tries it three times, and then puts it into the dead-letter queue."""
    record, config, _ = lambda_svc._get_func_record_for_ref(function)
    if record and config:
        lambda_svc.invoke_async_with_retry(lambda_svc._execution_record_for_config(record, config), json.loads(payload))


eventbridge._dispatch_to_lambda = _dispatch_to_lambda
_original_invoke = eventbridge._invoke_target
eventbridge._invoke_target = _invoke_target


def _add_stack_event(
    stack_id: str, stack_name: str, logical_id: str, resource_type: str, status: str, *more: Any, **named: Any
) -> None:
    """Record a stack's event, and raise it where it is the stack's own: ministack keeps it to itself.

    docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/eventbridge-events-reference.html
    """
    _original_stack_event(stack_id, stack_name, logical_id, resource_type, status, *more, **named)
    if resource_type == "AWS::CloudFormation::Stack":
        detail = {"stack-id": stack_id, "status-details": {"status": status, "status-reason": ""}}
        in_background(raise_event, "aws.cloudformation", "CloudFormation Stack Status Change", detail, [stack_id])


_original_stack_event = stacks._add_event
stacks._add_event = _add_stack_event


_version_of_event: contextvars.ContextVar[str | None] = contextvars.ContextVar("version_of_event", default=None)


def _fire_s3_event(*arguments: Any, version_id: str | None = None, **more: Any) -> None:
    token = _version_of_event.set(version_id)
    try:
        _original_fire(*arguments, version_id=version_id, **more)
    finally:
        _version_of_event.reset(token)


def _dispatch_event(event: dict[str, Any], view: Any = None) -> Any:
    """ministack's S3 events to EventBridge lack the version, which AWS's have for a versioned bucket."""
    version = _version_of_event.get()
    if event.get("Source") == "aws.s3" and version:
        detail = json.loads(event["Detail"])
        detail["object"]["version-id"] = version
        event = {**event, "Detail": json.dumps(detail)}
    return _original_dispatch(event, view)


_original_fire, _original_dispatch = s3._fire_s3_event, eventbridge._dispatch_event
s3._fire_s3_event = _fire_s3_event
eventbridge._dispatch_event = _dispatch_event


# --- builds -------------------------------------------------------------------------------------------------------


def run_builds(execute: Callable[[dict[str, Any], dict[str, Any]], None]) -> None:
    """Run builds by `execute(build, project)`, which keeps the build's record up to date."""

    def run(build_id: str, project: dict[str, Any]) -> None:
        execute(codebuild._builds[build_id], project)

    codebuild.EXECUTE_BUILDS = True
    codebuild._get_docker = lambda: None
    codebuild._execute_build = run


def begin_phase(build: dict[str, Any], name: str) -> None:
    """Note in a build's record that a phase began."""
    build["phases"].append({"phaseType": name, "startTime": int(time.time())})
    build["currentPhase"] = name
    build["buildStatus"] = "IN_PROGRESS"


def end_phase(build: dict[str, Any], name: str, status: str, message: str = "") -> None:
    """Note how a phase ended, with what went wrong."""
    codebuild._record_phase(build, name, status)
    if message:
        for phase in build["phases"]:
            if phase["phaseType"] == name:
                phase["contexts"] = [{"statusCode": "COMMAND_EXECUTION_ERROR", "message": message}]


def finish_build(build: dict[str, Any], status: str) -> None:
    """Note a build's end, unless somebody stopped it first."""
    codebuild._finish_build(build, "STOPPED" if codebuild._stop_requested(build["id"]) else status)


# --- logs ---------------------------------------------------------------------------------------------------------


def write_log(group: str, stream: str, lines: Iterable[str]) -> None:
    """Append lines to a log stream, making group and stream on first use as the services do."""
    now = int(time.time() * 1000)
    with request_scope(ACCOUNT, REGION):
        streams = cloudwatch_logs._log_groups.setdefault(
            group,
            {
                "arn": cloudwatch_logs._make_group_arn(group),
                "creationTime": now,
                "retentionInDays": None,
                "tags": {},
                "subscriptionFilters": {},
                "streams": {},
            },
        )["streams"]
        record = streams.setdefault(
            stream,
            {
                "events": [],
                "uploadSequenceToken": "1",
                "creationTime": now,
                "firstEventTimestamp": None,
                "lastEventTimestamp": None,
                "lastIngestionTime": None,
            },
        )
        events = [{"timestamp": now, "message": line, "ingestionTime": now} for line in lines]
        cloudwatch_logs._append_log_events(record, events)


# --- running ------------------------------------------------------------------------------------------------------

_loop: asyncio.AbstractEventLoop | None = None


def on_loop(function: Callable[[], Any]) -> Any:
    """Run something on the server's event loop and wait for it; from the loop itself, run it at once."""
    try:
        asyncio.get_running_loop()
        return function()
    except RuntimeError:
        pass

    async def call() -> Any:
        return function()

    assert _loop is not None
    return asyncio.run_coroutine_threadsafe(call(), _loop).result(timeout=60)


def in_background(function: Callable[..., Any], *arguments: Any) -> threading.Thread:
    """Run something on a thread of its own, in the account and region of the play."""

    def run() -> None:
        with request_scope(ACCOUNT, REGION):
            function(*arguments)

    context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(run,), daemon=True)
    thread.start()
    return thread


Application = Callable[[dict[str, Any], Any, Any], Awaitable[None]]


async def serve(front: Callable[[Application], Application], port: int, ready: Callable[[], None]) -> None:
    """Serve the played AWS on the loopback interface until the process is told to stop.

    `front` wraps ministack's ASGI application, for what is not an AWS API.
    """
    from hypercorn.asyncio import serve as hypercorn_serve
    from hypercorn.config import Config

    global _loop
    _loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for signal_number in (2, 15):
        _loop.add_signal_handler(signal_number, stop.set)
    config = Config()
    config.bind = [f"127.0.0.1:{port}"]
    config.keep_alive_timeout = 75
    config.graceful_timeout = 1
    config.shutdown_timeout = 2
    config.loglevel = "WARNING"
    application = front(ministack_app.app)

    async def told_ready(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            # The play has no certificate; on the loopback interface, a request counts as one over TLS.
            scope = {**scope, "headers": [*scope["headers"], (b"x-forwarded-proto", b"https")]}
        await application(scope, receive, send)

    _loop.call_later(0.05, ready)
    await hypercorn_serve(told_ready, config, shutdown_trigger=stop.wait)
