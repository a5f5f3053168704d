"""Lambda: check and describe functions as AWS does, report handler errors, and serve destinations and dead letters."""

import contextvars
import json
import logging
import re
import uuid
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from ministack.core import responses
from ministack.services import lambda_svc, s3, sns
from ministack.services.cloudformation import provisioners

from rehearsal.aws.adapter import queues
from rehearsal.aws.adapter.constraints import violation
from rehearsal.aws.adapter.identities import AccessDenied, caller_may, credentials_of
from rehearsal.aws.adapter.running import ACCOUNT, REGION

logger = logging.getLogger("rehearsal")
Response = tuple[int, dict[str, str], bytes]

# docs.aws.amazon.com/lambda/latest/dg/lambda-runtimes.html: Python runtimes that are no longer supported.
_DEPRECATED = {"python2.7", "python3.6", "python3.7", "python3.8", "python3.9"}
MAX_ENVIRONMENT_BYTES, MAX_TIMEOUT_SECONDS = (
    4096,
    900,
)  # docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html


def _error(code: str, message: str, status: int = 400, extra: dict[str, Any] | None = None, **more: Any) -> Response:
    """Return an error of Lambda; the name of its message member depends on the error code."""
    key = "Message" if code == "ResourceNotFoundException" else "message"
    return responses.error_response_json(
        code, message, status, {"Type": "User"} | (extra or {}), message_key=key, **more
    )


lambda_svc.error_response_json = _error


# --- checks ----------------------------------------------------------------------------------------------------------


def problem_of_function(request: dict[str, Any], role: str | None = None) -> str | None:
    """Return AWS's message about an invalid request to create or update a function, or None.

    `role` is the function's present role, for requests that name none.
    """
    runtime = request.get("Runtime", "")
    if runtime in _DEPRECATED:
        return (
            f"The runtime parameter of {runtime} is no longer supported for creating or updating AWS Lambda functions. "
            "We recommend you use a supported runtime while creating or updating functions."
        )
    checked = {
        name: request[name]
        for name in ("Runtime", "Handler", "Timeout", "MemorySize", "Description")
        if name in request
    }
    if broken := violation("lambda", "CreateFunction", checked):
        return broken
    if int(request.get("Timeout", 3)) > MAX_TIMEOUT_SECONDS:
        return (
            f"1 validation error detected: Value '{request['Timeout']}' at 'timeout' failed to satisfy constraint: "
            f"Member must have value less than or equal to {MAX_TIMEOUT_SECONDS}"
        )
    environment = request.get("Environment", {}).get("Variables", {})
    if len(json.dumps(environment, separators=(",", ":")).encode()) > MAX_ENVIRONMENT_BYTES:
        return (
            "Lambda was unable to configure your environment variables because the environment variables you have "
            f"provided exceeded the 4KB limit. String measured: {json.dumps(environment)[:200]}"
        )
    return _problem_of_code(request.get("Code", {})) or _problem_of_role(request, request.get("Role") or role)


def _problem_of_code(code: dict[str, Any]) -> str | None:
    if not code.get("S3Bucket"):
        return None
    if code["S3Bucket"] not in s3._buckets:
        return "Error occurred while GetObject. S3 Error Code: NoSuchBucket. S3 Error Message: The specified bucket does not exist"
    if lambda_svc._fetch_code_from_s3(code["S3Bucket"], code["S3Key"], version_id=code.get("S3ObjectVersion")) is None:
        return "Error occurred while GetObject. S3 Error Code: NoSuchKey. S3 Error Message: The specified key does not exist."
    return None


def _problem_of_role(request: dict[str, Any], role: str | None) -> str | None:
    target = (request.get("DeadLetterConfig") or {}).get("TargetArn")
    try:
        key = credentials_of(role, "create", "lambda.amazonaws.com")["AWS_ACCESS_KEY_ID"] if role else ""
    except AccessDenied:
        return "The role defined for the function cannot be assumed by Lambda."
    service, action = ("SQS", "SendMessage") if ":sqs:" in (target or "") else ("SNS", "Publish")
    try:
        if target and role:
            caller_may(key, f"{service.lower()}:{action}", target)
    except AccessDenied:
        return f"The provided execution role does not have permissions to call {action} on {service}"
    return None


def _create_function(data: dict[str, Any]) -> Response:
    if problem := problem_of_function(data):
        return _error("InvalidParameterValueException", problem)
    logging_config = logging_of(data["FunctionName"], {}, data.get("LoggingConfig", {}))
    return _original_create({**data, "LoggingConfig": logging_config})


def _update_config(name: str, data: dict[str, Any]) -> Response:
    record = lambda_svc._functions.get(name)
    if record is None:
        return _original_update(name, data)
    if problem := problem_of_function(data, record["config"]["Role"]):
        return _error("InvalidParameterValueException", problem)
    if data.get("DeadLetterConfig") == {}:  # as recorded from AWS: only an empty ARN removes the queue
        data = {member: value for member, value in data.items() if member != "DeadLetterConfig"}
    if "LoggingConfig" in data:
        present = record["config"].get("LoggingConfig", {})
        data = {**data, "LoggingConfig": logging_of(name, present, data["LoggingConfig"])}
    status, headers, body = _original_update(name, data)
    if status != 200:
        return status, headers, body
    config = record["config"]
    # A function stays active while it is updated; only its last update is in progress.
    config |= {"State": "Active", "StateReason": "", "StateReasonCode": ""}
    config |= {"LastUpdateStatusReason": "The function is being created.", "LastUpdateStatusReasonCode": "Creating"}
    if "DeadLetterConfig" in data and not data["DeadLetterConfig"].get("TargetArn"):
        config.pop("DeadLetterConfig", None)
    return _respond(config)


def _update_code(name: str, data: dict[str, Any]) -> Response:
    if problem := _problem_of_code(data):
        return _error("InvalidParameterValueException", problem)
    return _original_update_code(name, data)


def _create_resource(logical_id: str, properties: dict[str, Any], stack_name: str) -> Any:
    """Create a stack's function. Raise ValueError if the API would reject it.

    ministack's provisioner bypasses the API.
    """
    if problem := problem_of_function(properties):
        raise ValueError(f"{problem} (Service: Lambda, Status Code: 400)")
    name, attributes = _original_create_resource(logical_id, properties, stack_name)
    config = lambda_svc._functions[name]["config"]
    config["LoggingConfig"] = logging_of(name, {}, properties.get("LoggingConfig", {}))
    return name, attributes


def logging_of(name: str, present: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return a function's logging configuration after `changes`; `present` is the one before.

    docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-advanced.html: only the format JSON has log levels.
    """
    merged = {"LogFormat": "Text", "LogGroup": f"/aws/lambda/{name}"} | present | changes
    if merged["LogFormat"] == "JSON":
        return {"ApplicationLogLevel": "INFO", "SystemLogLevel": "INFO"} | merged
    return {member: merged[member] for member in ("LogFormat", "LogGroup")}


_original_create, _original_update = lambda_svc._create_function, lambda_svc._update_config
lambda_svc._create_function, lambda_svc._update_config = _create_function, _update_config
_original_update_code = lambda_svc._update_code
lambda_svc._update_code = _update_code
_original_create_resource = provisioners._RESOURCE_HANDLERS["AWS::Lambda::Function"]["create"]
provisioners._RESOURCE_HANDLERS["AWS::Lambda::Function"]["create"] = _create_resource


# --- descriptions ----------------------------------------------------------------------------------------------------


def _respond(body: Any, status: int = 200, *more: Any, **named: Any) -> Response:
    """Return a JSON response; a function is described as AWS does it, without its empty members."""
    if isinstance(body, dict) and "FunctionArn" in body and "CodeSha256" in body:
        body = _described(body, new=status == 201)
    elif isinstance(body, dict) and "Configuration" in body and "Code" in body:
        body = {name: value for name, value in body.items() if name != "Tags" or value}
        body["Configuration"] = _described(body["Configuration"], new=False)
    return responses.json_response(body, status, *more, **named)


def _described(config: dict[str, Any], *, new: bool) -> dict[str, Any]:
    kept = {name: value for name, value in config.items() if value not in ("", [])} | {
        "Description": config["Description"]
    }
    if not (config.get("VpcConfig") or {}).get("SubnetIds"):
        kept.pop("VpcConfig", None)
    if new:
        kept = {name: value for name, value in kept.items() if not name.startswith("LastUpdateStatus")}
    digest = sha256(config.get("Runtime", "").encode()).hexdigest()
    return kept | {"RuntimeVersionConfig": {"RuntimeVersionArn": f"arn:aws:lambda:{REGION}::runtime:{digest}"}}


lambda_svc.json_response = _respond


# --- permissions -----------------------------------------------------------------------------------------------------


def _qualifier_problem(name: str, qualifier: str | None) -> Response | None:
    """Return AWS's error if a function does not have a version or alias, else None."""
    record = lambda_svc._functions.get(name)
    if record is None or not qualifier or lambda_svc._function_qualifier_exists(record, qualifier):
        return None
    arn = f"{lambda_svc._func_arn(name)}:{qualifier}"
    is_alias = not qualifier.isdigit() and "$" not in qualifier
    return _error(
        "ResourceNotFoundException", f"{'Cannot find alias arn' if is_alias else 'Function not found'}: {arn}", 404
    )


def _add_permission(name: str, data: dict[str, Any], query: Any = None, path_qualifier: str | None = None) -> Response:
    query_qualifier = lambda_svc._qp_first(query, "Qualifier") if query else None
    checked = {member: data[member] for member in ("StatementId", "Action", "SourceAccount") if member in data}
    if broken := violation(
        "lambda", "AddPermission", checked | ({"Qualifier": query_qualifier} if query_qualifier else {})
    ):
        return _error("ValidationException", broken)
    if path_qualifier and query_qualifier and path_qualifier != query_qualifier:
        problem = "The derived qualifier from the function name does not match the specified qualifier."
        return _error("InvalidParameterValueException", problem)
    qualifier = path_qualifier or query_qualifier
    if qualifier == "$LATEST":
        return _error("InvalidParameterValueException", "We currently do not support adding policies for $LATEST.")
    if not re.fullmatch(r"\*|\d{12}|arn:aws:.+|[a-z0-9.-]+\.amazonaws\.com", data.get("Principal", "")):
        problem = "The provided principal was invalid. Please check the principal and try again."
        return _error("InvalidParameterValueException", problem)
    return _qualifier_problem(name, qualifier) or _original_add(name, data, query, path_qualifier)


def _remove_permission(name: str, sid: str, query: Any, path_qualifier: str | None = None) -> Response:
    if name not in lambda_svc._functions:
        return _error("ResourceNotFoundException", f"No policy found for: {lambda_svc._func_arn(name)}", 404)
    qualifier = lambda_svc._qualifier_from_path_or_query(path_qualifier, query)
    return _qualifier_problem(name, qualifier) or _original_remove(name, sid, query, path_qualifier)


def _get_policy(name: str, query: Any = None, path_qualifier: str | None = None) -> Response:
    record = lambda_svc._functions.get(name)
    qualifier = lambda_svc._qualifier_from_path_or_query(path_qualifier, query)
    if record is None or not record["policy"]["Statement"] or _qualifier_problem(name, qualifier):
        return _error("ResourceNotFoundException", "The resource you requested does not exist.", 404)
    return _original_get_policy(name, query, path_qualifier)


_original_add, _original_remove = lambda_svc._add_permission, lambda_svc._remove_permission
_original_get_policy = lambda_svc._get_policy
lambda_svc._add_permission, lambda_svc._remove_permission = _add_permission, _remove_permission
lambda_svc._get_policy = _get_policy


# --- errors of handlers ----------------------------------------------------------------------------------------------

# In a traceback: lines of markers below the source, and a frame (file, line number, function) with its source lines.
_CARETS = re.compile(r"^[ ~^]+\n", re.MULTILINE)
_FRAME = re.compile(r'^  File "(.+)", line (\d+), in (.+)\n(?:    .*\n)*', re.MULTILINE)


def _execute(function: dict[str, Any], event: dict[str, Any], request_id: str) -> dict[str, Any]:
    """Run a function; report an exception of its handler with type, stack trace and request id, as AWS does."""
    result = _original_execute(function, event, request_id)
    body = result.get("body")
    if result.get("error") and isinstance(body, dict) and "Traceback (most recent call last):" in result.get("log", ""):
        trace = _CARETS.sub("", result["log"].rpartition("Traceback (most recent call last):\n")[2] + "\n")
        kind = re.match(r"([\w.]+)", _FRAME.sub("", trace).lstrip("\n"))
        root = _root_of(trace, function)
        # Only frames in the function's own code are reported, below the folder where AWS has it.
        frames = [match[0].replace(root, "/var/task") for match in _FRAME.finditer(trace) if root and root in match[1]]
        if kind:
            body["errorType"] = kind[1].rsplit(".", 1)[-1]
        body |= {"requestId": request_id, "stackTrace": frames}
    return result


def _root_of(trace: str, function: dict[str, Any]) -> str | None:
    """Return the folder of a function's code, from the first frame in the handler's file; None if there is none."""
    module = function["config"]["Handler"].rpartition(".")[0].replace(".", "/")
    for match in _FRAME.finditer(trace):
        if match[1].endswith(f"/{module}.py"):
            return match[1].removesuffix(f"/{module}.py")
    return None


_original_execute = lambda_svc._execute_function_warm
lambda_svc._execute_function_warm = _execute


# --- asynchronous invocations ----------------------------------------------------------------------------------------


def _route_async_failure(target: str, name: str, event: Any, result: dict[str, Any]) -> None:
    """Send an event whose attempts all failed to the function's on-failure destination and its dead-letter queue.

    docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html: the queue gets the event itself, with
    attributes about the error; the destination gets a record of the invocation, which contains the event.
    """
    error = result["body"] if isinstance(result.get("body"), dict) else {}
    if destination := _destination_of(name, "OnFailure"):
        tries = _invoke_settings(name).get("MaximumRetryAttempts", 2) + 1
        _send(name, destination, json.dumps(_record_of(name, event, result, tries)), {})
    if queue := (lambda_svc._functions[name]["config"].get("DeadLetterConfig") or {}).get("TargetArn"):
        attributes = {
            "ErrorCode": {"DataType": "Number", "StringValue": "200"},
            "ErrorMessage": {"DataType": "String", "StringValue": error.get("errorMessage", "")[:1024] or "Unknown"},
            "RequestID": {"DataType": "String", "StringValue": error.get("requestId", "unknown")},
        }
        _send(name, queue, json.dumps(event), attributes)


def _record_of(name: str, event: Any, result: dict[str, Any], tries: int) -> dict[str, Any]:
    """Return the record of an asynchronous invocation that its destination gets."""
    failed, body = result.get("error"), result.get("body")
    request_id = body.get("requestId") if failed and isinstance(body, dict) else str(uuid.uuid4())
    kind = {"functionError": result.get("function_error") or "Unhandled"} if failed else {}
    return {
        "version": "1.0",
        "timestamp": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S}.000Z",
        "requestContext": {
            "requestId": request_id,
            "functionArn": f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{name}:$LATEST",
            "condition": "RetriesExhausted" if failed else "Success",
            "approximateInvokeCount": tries,
        },
        "requestPayload": event,
        "responseContext": {"statusCode": 200, "executedVersion": "$LATEST"} | kind,
        "responsePayload": body,
    }


_asynchronous: contextvars.ContextVar[bool] = contextvars.ContextVar("asynchronous", default=False)


def _invoke_async(function: dict[str, Any], event: Any) -> None:
    token = _asynchronous.set(True)
    try:
        _original_invoke_async(function, event)  # starts a thread with a copy of this context
    finally:
        _asynchronous.reset(token)


def _execute_any(function: dict[str, Any], event: Any) -> dict[str, Any]:
    """Run a function, and send an asynchronous result to its on-success destination, which ministack ignores."""
    result = _original_execute_any(function, event)
    name = (function.get("config") or function)["FunctionName"]
    if (
        _asynchronous.get()
        and name in lambda_svc._functions
        and not result.get("error")
        and (target := _destination_of(name, "OnSuccess"))
    ):
        _send(name, target, json.dumps(_record_of(name, event, result, 1)), {})
    return result


def _destination_of(name: str, kind: str) -> str | None:
    settings = _invoke_settings(name).get("DestinationConfig") or {}
    return settings.get(kind, {}).get("Destination")


def _invoke_settings(name: str) -> dict[str, Any]:
    record = lambda_svc._functions[name]
    return record.get("event_invoke_config") or (record.get("event_invoke_configs") or {}).get("$LATEST") or {}


def _send(name: str, target: str, body: str, attributes: dict[str, Any]) -> None:
    """Send to a queue, topic or function with the function's role; log a warning if the role does not allow it."""
    role = lambda_svc._functions[name]["config"]["Role"]
    try:
        key = credentials_of(role, name, "lambda.amazonaws.com")["AWS_ACCESS_KEY_ID"]
        if ":sqs:" in target:
            caller_may(key, "sqs:SendMessage", target)
            queues.put_message(target, body, attributes)
        elif ":sns:" in target:
            caller_may(key, "sns:Publish", target)
            sns.publish_internal(target, body, message_attributes=attributes)
        else:
            caller_may(key, "lambda:InvokeFunction", target)
            lambda_svc.invoke_async_with_retry(lambda_svc._get_func_record_for_ref(target)[0], json.loads(body))
    except (AccessDenied, LookupError) as refused:
        logger.warning("function %s: a failed event could not be kept in %s: %s", name, target, refused)


def _put_event_invoke_config(name: str, qualifier: str | None, data: dict[str, Any]) -> Response:
    """Store a configuration for asynchronous invocations, without the defaults that ministack adds to the request."""
    status, headers, body = _original_put_invoke(name, qualifier, data)
    if status != 200:
        return status, headers, body
    config = lambda_svc._functions[name]["event_invoke_configs"][qualifier or ""]
    for member in {"MaximumRetryAttempts", "MaximumEventAgeInSeconds"} - data.keys():
        del config[member]
    config["FunctionArn"] = f"{lambda_svc._func_arn(name)}:{qualifier or '$LATEST'}"
    return responses.json_response(config)


lambda_svc._route_async_failure = _route_async_failure
_original_invoke_async, _original_execute_any = lambda_svc.invoke_async_with_retry, lambda_svc._execute_function
lambda_svc.invoke_async_with_retry, lambda_svc._execute_function = _invoke_async, _execute_any
_original_put_invoke = lambda_svc._put_event_invoke_config
lambda_svc._put_event_invoke_config = _put_event_invoke_config
