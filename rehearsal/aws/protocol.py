"""The JSON protocol of AWS services, with parameters checked against botocore's service models.

A service is a class with a method for each operation, named after it in snake case. Parameters are checked before the
method is called; an operation without a method is refused by name.
"""

import datetime
import json
import logging
import re
import traceback
import uuid
from collections.abc import Iterator
from typing import Any

import botocore.loaders
import botocore.model
import botocore.validate
from botocore import xform_name

from rehearsal.aws import adapter, lists, members

logger = logging.getLogger("rehearsal")
_loader = botocore.loaders.Loader()
# Service -> its model's error for a pagination token that it did not issue, if that is not ValidationException.
BAD_TOKENS = {
    "codecommit": "InvalidContinuationTokenException",
    "service-quotas": "InvalidPaginationTokenException",
    "servicecatalog": "InvalidParametersException",
}
# List member of a response -> its member with the token of the next page, if that is not NextToken.
TOKEN_MEMBERS = {
    "LaunchPathSummaries": "NextPageToken",
    "PortfolioDetails": "NextPageToken",
    "ProductViewSummaries": "NextPageToken",
    "repositories": "nextToken",
}


class AwsError(Exception):
    """An error in AWS's form: code, message and HTTP status."""

    def __init__(self, code: str, message: str, status: int = 400):
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status


def not_emulated(what: str) -> AwsError:
    """Return the error for something that is not emulated."""
    return AwsError("UnsupportedOperation", f"The emulator does not support {what}.")


def service_model(name: str) -> botocore.model.ServiceModel:
    """Return botocore's model of a service."""
    return botocore.model.ServiceModel(_loader.load_service_model(name, "service-2"), name)


class Caller:
    """The sender of a request, with checks of what else it may do."""

    def __init__(self, access_key: str):
        self.access_key = access_key

    def pass_role(self, role_arn: str, service: str) -> None:
        """Raise AccessDenied unless the caller may pass a role to a service (iam:PassRole), which AWS always checks."""
        self.may("iam:PassRole", role_arn, {"iam:PassedToService": service})

    def may(self, action: str, resource: str, context: dict[str, str] | None = None) -> None:
        """Raise AccessDenied unless the caller may perform an action that its request implies."""
        adapter.caller_may(self.access_key, action, resource, context)


class Service:
    """Base class of an emulated service. Subclasses set `name` and `target_prefix`, and define operations."""

    name: str
    target_prefix: str

    def __init__(self) -> None:
        self.model = service_model(self.name)
        # (operation, idempotency token) -> parameters and response of the first request.
        self.answers: dict[tuple[str, str], tuple[dict[str, Any], dict[str, Any]]] = {}
        adapter.add_service(self.name, self.target_prefix, self.handle, self.resource_of)

    def resource_of(self, operation: str, parameters: dict[str, Any], path: str) -> str:
        """Return the ARN that IAM evaluates an operation against."""
        return "*"

    def handle(
        self, method: str, path: str, headers: dict[str, str], body: bytes, query: dict[str, list[str]]
    ) -> adapter.Response:
        """Return the response to a request; an error becomes an error response of AWS."""
        operation = headers.get("x-amz-target", "").rsplit(".", 1)[-1]
        caller = Caller(access_key_of(headers))
        try:
            if not operation:
                return self.handle_rest(method, path, headers, body, caller)
            return reply(self.call(operation, json.loads(body or b"{}"), caller))
        except AwsError as error:
            return refuse(error)
        except adapter.AccessDenied as error:
            return refuse(AwsError("AccessDeniedException", str(error)))
        except Exception as error:
            logger.error("%s %s: %s", self.name, operation or path, traceback.format_exc())
            return refuse(AwsError("InternalFailure", f"The rehearsal failed at {operation or path}: {error}", 500))

    def handle_rest(
        self, method: str, path: str, headers: dict[str, str], body: bytes, caller: Caller
    ) -> adapter.Response:
        """Return the response to a request that names its operation by its path."""
        raise not_emulated(f"{self.name} {method} {path}")

    def call(self, operation: str, parameters: dict[str, Any], caller: Caller) -> dict[str, Any]:
        """Check the parameters, and return what the operation's method returns.

        A Create operation repeated with the same idempotency token and parameters returns the first response again.
        """
        if operation not in self.model.operation_names:
            raise AwsError("UnknownOperationException", f"{self.name} has no operation {operation}.")
        method = getattr(self, xform_name(operation), None)
        if method is None or operation not in members.HONOURED:
            raise not_emulated(f"{self.name}:{operation}")
        shape = self.model.operation_model(operation).input_shape
        check(shape, parameters)
        if ignored := members.unsupported(operation, shape, parameters):
            raise not_emulated(f"{', '.join(ignored)} of {self.name}:{operation}")
        check_tags(parameters)
        token = idempotency_token(shape, parameters) if operation.startswith("Create") else ""
        asked, answer = self.answers.get((operation, token), (None, {})) if token else (None, {})
        if asked == parameters:
            return answer
        try:
            answer = method(parameters, caller) or {}
        except lists.BadToken as error:
            code = BAD_TOKENS.get(self.name, "ValidationException")
            raise AwsError(code, f"The token {error} is not one of {operation} with these parameters.") from error
        if token:
            self.answers[operation, token] = parameters, answer
        return answer


def idempotency_token(shape: botocore.model.StructureShape, parameters: dict[str, Any]) -> str:
    """Return the token that identifies a repeated request, or ""; SDKs fill it in (Smithy's idempotencyToken trait)."""
    names = [name for name, member in shape.members.items() if member.metadata.get("idempotencyToken")]
    return next((parameters[name] for name in names if name in parameters), "")


def check_tags(parameters: dict[str, Any]) -> None:
    """Raise ValidationException for tag keys with AWS's own prefix aws: (SageMaker's API reference, Tag)."""
    reserved = [tag["Key"] for tag in parameters.get("Tags", []) if tag["Key"].lower().startswith("aws:")]
    if reserved:
        raise AwsError("ValidationException", f"Tag keys may not begin with aws: {', '.join(reserved)}.")


def check(shape: botocore.model.Shape | None, parameters: dict[str, Any]) -> None:
    """Raise ValidationException for parameters that violate a service's model: members, types, lengths and patterns."""
    report = botocore.validate.ParamValidator().validate(parameters, shape)
    problems = [report.generate_report()] if report.has_errors() else list(pattern_problems(shape, parameters, ""))
    if problems:
        raise AwsError("ValidationException", problems[0])


def pattern_problems(shape: botocore.model.Shape, value: Any, where: str) -> Iterator[str]:
    """Yield what botocore's own validation leaves to the service: enums, patterns, and maximum lengths and values."""
    if shape.type_name == "structure":
        for name, member in value.items():
            yield from pattern_problems(shape.members[name], member, f"{where}{name}.")
    elif shape.type_name == "list":
        if len(value) > shape.metadata.get("max", len(value)):
            yield f"'{where[:-1]}' has {len(value)} members, more than {shape.metadata['max']}"
        for number, member in enumerate(value):
            yield from pattern_problems(shape.member, member, f"{where}{number}.")
    elif shape.type_name == "map":
        for name, member in value.items():
            yield from pattern_problems(shape.value, member, f"{where}{name}.")
    elif shape.type_name == "string":
        pattern, longest = shape.metadata.get("pattern"), shape.metadata.get("max")
        if shape.enum and value not in shape.enum:
            yield f"Value '{value}' at '{where[:-1]}' is not one of: {', '.join(shape.enum)}"
        elif longest and len(value) > longest:
            yield f"Value '{value}' at '{where[:-1]}' is longer than {longest} characters"
        elif pattern and not matches(pattern, value):
            yield f"Value '{value}' at '{where[:-1]}' failed to satisfy constraint: Member must satisfy {pattern}"
    elif shape.type_name in ("integer", "long") and value > shape.metadata.get("max", value):
        yield f"Value '{value}' at '{where[:-1]}' is more than {shape.metadata['max']}"


def matches(pattern: str, value: str) -> bool:
    """Return whether a value matches a model's pattern; Unicode classes, which `re` lacks, count as matching."""
    return "\\p{" in pattern or re.fullmatch(pattern, value) is not None


def access_key_of(headers: dict[str, str]) -> str:
    """Return the access key that signed a request, or "" for an unsigned one."""
    found = re.search(r"Credential=([^/,\s]+)/", headers.get("authorization", ""))
    return found.group(1) if found else ""


def reply(answer: dict[str, Any]) -> adapter.Response:
    """Return a successful JSON response."""
    body = json.dumps(answer, default=to_json).encode()
    return 200, {"Content-Type": "application/x-amz-json-1.1"}, body


def refuse(error: AwsError) -> adapter.Response:
    """Return an error response, which boto3 raises under its code."""
    body = json.dumps({"__type": error.code, "message": error.message, "Message": error.message}).encode()
    headers = {"Content-Type": "application/x-amz-json-1.1", "x-amzn-errortype": error.code}
    return error.status, headers, body


def to_json(value: Any) -> Any:
    """Return a time as the JSON protocol writes it: seconds since 1970. Raise TypeError for anything else."""
    if isinstance(value, datetime.datetime):
        return value.timestamp()
    raise TypeError(f"{type(value).__name__} cannot be sent")


def now() -> datetime.datetime:
    """Return the current time in UTC."""
    return datetime.datetime.now(datetime.UTC)


def short_id(length: int = 12) -> str:
    """Return a random id of `length` (at most 32) lower-case hexadecimal digits."""
    return uuid.uuid4().hex[:length]


def page(items: list[Any], parameters: dict[str, Any], key: str) -> dict[str, Any]:
    """Return one page of a list, filtered and sorted as the request asks, with the next page's token, if any."""
    shown, token = lists.page(items, parameters, key)
    return {key: shown, **({TOKEN_MEMBERS.get(key, "NextToken"): token} if token else {})}


def tags_of(tags: list[dict[str, str]] | dict[str, str] | None) -> dict[str, str]:
    """Return tags as a dict, from either form that AWS uses: a list of Key and Value, or a mapping."""
    return dict(tags) if isinstance(tags, dict) else {tag["Key"]: tag["Value"] for tag in tags or []}


def public(record: dict[str, Any]) -> dict[str, Any]:
    """Return a record without the emulator's own members, whose names begin in lower case."""
    return {key: value for key, value in record.copy().items() if key[0].isupper()}
