"""Lambda: function errors, dead-letter queues, destinations, permissions, and logging configurations."""

import base64
import io
import json
import zipfile
from typing import Any

from recordings import Responses, create_queue, refusal, replays, unique
from rehearsal.server import Emulator

ACCEPTED: dict[str, dict[str, str]] = {
    "test_lambda_destinations::TestLambdaDLQ::test_dead_letter_queue": {
        "log_result.result": "ministack's tail of a log lacks START and END, and has levels as Python writes them"
    }
}
NOT_REPLAYED: dict[str, str] = {}

LINE = 'raise Exception("Test exception (this is intentional)")'
# The `raise` stands on line 55, as in the recorded stack traces.
RAISING = "import logging\n" + "\n" * 50 + (
    "def handler(event, context):\n    print('Lambda log message - print function')\n"
    f"    logging.getLogger().warning('Lambda log message - logging module')\n    {LINE}\n"
)  # fmt: skip
FAILING = f"def handler(event, context):\n    {LINE.replace('Test exception (this is intentional)', 'Handler fails')}\n"
LOGGING = "test_lambda_api::TestLoggingConfig::test"


def zipped(name: str, source: str) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr(f"{name}.py", source)
    return data.getvalue()


def role(aws: Emulator) -> str:
    """Create a role that functions may assume and that allows everything; return its ARN."""
    iam, name = aws.client("iam"), unique("recorded")
    trust = {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    arn = iam.create_role(RoleName=name, AssumeRolePolicyDocument=document)["Role"]["Arn"]
    allow = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
    iam.put_role_policy(RoleName=name, PolicyName="all", PolicyDocument=json.dumps(allow))
    return arn


def create_function(aws: Emulator, source: str, module: str = "handler", **parameters: Any) -> dict[str, Any]:
    """Create a function, wait until it is active, and return the response of CreateFunction."""
    functions, name = aws.client("lambda"), unique("recorded")
    defaults = {"Handler": f"{module}.handler", "Runtime": "python3.12", "Timeout": 5, "Environment": {"Variables": {}}}
    code = {"ZipFile": zipped(module, source)}
    created = functions.create_function(FunctionName=name, Code=code, Role=role(aws), **defaults | parameters)
    functions.get_waiter("function_active_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1})
    return created


def payload(response: dict[str, Any]) -> dict[str, Any]:
    """Return the response of Invoke with its payload parsed."""
    return {**response, "Payload": json.load(response["Payload"])}


@replays("test_lambda::TestLambdaErrors::test_lambda_handler_error")
def raising_handler(aws: Emulator) -> Responses:
    name = create_function(aws, FAILING, "lambda_handler_error")["FunctionName"]
    return {"invocation_error": payload(aws.client("lambda").invoke(FunctionName=name))}


@replays("test_lambda_integration_sqs::test_sqs_queue_as_lambda_dead_letter_queue")
def dead_letter(aws: Emulator) -> Responses:
    functions, (url, arn) = aws.client("lambda"), create_queue(aws)
    created = create_function(aws, RAISING, DeadLetterConfig={"TargetArn": arn})
    functions.put_function_event_invoke_config(FunctionName=created["FunctionName"], MaximumRetryAttempts=0)
    functions.invoke(FunctionName=created["FunctionName"], InvocationType="Event", Payload='{"raise_error": 1}')
    messages = aws.client("sqs").receive_message(QueueUrl=url, WaitTimeSeconds=20, MessageAttributeNames=["All"])
    return {"lambda-response-dlq-config": created["DeadLetterConfig"], "messages": messages}


@replays("test_lambda_destinations::TestLambdaDLQ::test_dead_letter_queue")
def dead_letter_queue(aws: Emulator) -> Responses:
    functions, (url, arn) = aws.client("lambda"), create_queue(aws)
    created = create_function(aws, RAISING, DeadLetterConfig={"TargetArn": arn}, Timeout=30, MemorySize=128)
    name = created["FunctionName"]
    functions.put_function_event_invoke_config(FunctionName=name, MaximumRetryAttempts=0)
    functions.invoke(FunctionName=name, InvocationType="Event", Payload='{"raise_error": 1}')
    messages = aws.client("sqs").receive_message(QueueUrl=url, WaitTimeSeconds=20, MessageAttributeNames=["All"])
    deleted = functions.update_function_configuration(FunctionName=name, DeadLetterConfig={})
    functions.get_waiter("function_updated_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1})
    invoked = payload(functions.invoke(FunctionName=name, Payload='{"raise_error": 1}', LogType="Tail"))
    log = base64.b64decode(invoked["LogResult"]).decode().splitlines()
    return {
        "create_lambda_with_dlq": {"CreateEventSourceMappingResponse": None, "CreateFunctionResponse": created},
        "receive_result": messages,
        "delete_dlq": deleted,
        "invoke_result": invoked,
        "log_result": {"result": [line for line in log if line and not line.startswith("REPORT")]},
    }


@replays("test_lambda_destinations::TestLambdaDestinationSqs::test_assess_lambda_destination_invocation[payload1]")
def failure_destination(aws: Emulator) -> Responses:
    functions, (url, arn) = aws.client("lambda"), create_queue(aws)
    name = create_function(aws, RAISING)["FunctionName"]
    destinations = {kind: {"Destination": arn} for kind in ("OnSuccess", "OnFailure")}
    put = functions.put_function_event_invoke_config(
        FunctionName=name, MaximumRetryAttempts=0, DestinationConfig=destinations
    )
    functions.invoke(FunctionName=name, InvocationType="Event", Payload='{"raise_error": 1}')
    messages = aws.client("sqs").receive_message(QueueUrl=url, WaitTimeSeconds=20)
    return {"put_function_event_invoke_config": put, "receive_message_result": messages}


@replays("test_lambda_api::TestLambdaPermissions::test_permission_exceptions")
def refused_permissions(aws: Emulator) -> Responses:
    functions, name = aws.client("lambda"), create_function(aws, FAILING)["FunctionName"]
    s3 = {"StatementId": "s3", "Action": "lambda:InvokeFunction", "Principal": "s3.amazonaws.com"}

    def add(function: str = name, **parameters: str) -> dict[str, Any]:
        return refusal(functions.add_permission, FunctionName=function, **s3 | parameters)

    def remove(function: str = name, **parameters: str) -> dict[str, Any]:
        return refusal(functions.remove_permission, FunctionName=function, StatementId="s3", **parameters)

    def get(function: str = name, **parameters: str) -> dict[str, Any]:
        return refusal(functions.get_policy, FunctionName=function, **parameters)

    no_policy = remove()
    functions.add_permission(FunctionName=name, **s3)
    return {
        "add_permission_invalid_statement_id": add(StatementId="example.com"),
        "add_permission_fn_qualifier_invalid": add(Qualifier="invalid-qualifier-with-?-char"),
        "add_permission_fn_qualifier_latest": add(Qualifier="$LATEST"),
        "add_permission_fn_qualifier_valid_doesnotexist": add(Qualifier="valid-with-$-but-doesnotexist"),
        "add_permission_fn_qualifier_mismatch": add(f"{name}:alias-not-42", Qualifier="42"),
        "add_permission_principal_invalid": add(Principal="invalid.nonaws.com", StatementId="other"),
        "add_permission_fn_doesnotexist": add("doesnotexist"),
        "add_permission_fn_alias_doesnotexist": add(Qualifier="alias-doesnotexist"),
        "add_permission_fn_version_doesnotexist": add(Qualifier="42"),
        "add_permission_conflicting_statement_id": add(),
        "get_policy_fn_doesnotexist": get("doesnotexist"),
        "get_policy_fn_version_doesnotexist": get(Qualifier="42"),
        "remove_permission_policy_doesnotexist": no_policy,
        "remove_permission_fn_doesnotexist": remove("doesnotexist"),
        "remove_permission_fn_alias_doesnotexist": remove(Qualifier="alias-doesnotexist"),
    }


def configurations(aws: Emulator, updates: dict[str, dict[str, str]], **parameters: Any) -> Responses:
    """Create a function, apply each update of its logging configuration, and return all responses.

    `updates` is {suffix of the recorded names: logging configuration}.
    """
    functions = aws.client("lambda")
    created = create_function(aws, FAILING, MemorySize=256, **parameters)
    name = created["FunctionName"]
    responses = {
        "create_response": {"CreateEventSourceMappingResponse": None, "CreateFunctionResponse": created},
        "get_function_response": functions.get_function(FunctionName=name),
        "function_config": functions.get_function_configuration(FunctionName=name),
    }
    for suffix, logging in updates.items():
        updated = functions.update_function_configuration(FunctionName=name, LoggingConfig=logging)
        functions.get_waiter("function_updated_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1})
        received = functions.get_function_configuration(FunctionName=name)
        responses |= {f"updated_config{suffix}": updated, f"received_config{suffix}": received}
    return responses


@replays(f"{LOGGING}_function_advanced_logging_configuration")
def advanced_logging(aws: Emulator) -> Responses:
    return configurations(aws, {"": {"LogGroup": "cool_lambda"}}, LoggingConfig={"LogFormat": "JSON"})


@replays(f"{LOGGING}_advanced_logging_configuration_format_switch")
def format_of_logs(aws: Emulator) -> Responses:
    return configurations(aws, {"": {"LogFormat": "JSON"}, "_v2": {"LogFormat": "Text"}})


PARTIAL = [
    {"LogFormat": "JSON"},
    {"LogFormat": "JSON", "ApplicationLogLevel": "DEBUG"},
    {"LogFormat": "JSON", "SystemLogLevel": "DEBUG"},
    {"LogGroup": "cool_lambda"},
]


def replay_partial(number: int, logging: dict[str, str]) -> None:
    @replays(f"{LOGGING}_function_partial_advanced_logging_configuration_update[partial_config{number}]")
    def replay(aws: Emulator) -> Responses:
        return configurations(aws, {"": logging})


for each in enumerate(PARTIAL):
    replay_partial(*each)
