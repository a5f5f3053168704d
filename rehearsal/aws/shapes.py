"""Check requests against botocore's service models before ministack, which accepts any type of member, sees them."""

import functools
import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl

import botocore.exceptions
import botocore.loaders
import botocore.model
import botocore.validate

_loader = botocore.loaders.Loader()
MODELS = {"monitoring": "cloudwatch", "servicequotas": "service-quotas"}  # name in a signature: name of the model
INTEGERS = ("integer", "long")
# botocore's message for a number that is too small, and AWS's.
TOO_SMALL = re.compile(r"Invalid value for parameter (\S+), value: (\S+), valid min value: (\S+)")
IN_WORDS_OF_AWS = (
    r"1 validation error detected: Value '\2' at '\1' failed to satisfy constraint: "
    r"Member must have value greater than or equal to \3"
)
# Our own services check their requests in protocol.py, after they have refused operations that are not emulated.
OWN = ("codecommit", "sagemaker", "servicecatalog", "servicequotas")


@functools.cache
def service_model(name: str) -> botocore.model.ServiceModel | None:
    """Return botocore's model of the service that a signature names; None if botocore does not know it."""
    try:
        name = MODELS.get(name, name)
        return botocore.model.ServiceModel(_loader.load_service_model(name, "service-2"), name)
    except botocore.exceptions.UnknownServiceError:
        return None


def input_shape(service: str, operation: str) -> botocore.model.Shape | None:
    """Return the shape of an operation's input; None if the operation is unknown or takes no input."""
    model = service_model(service)
    if model is None or operation not in model.operation_names:
        return None
    return model.operation_model(operation).input_shape


def json_problem(service: str, target: str, body: bytes) -> str | None:
    """Return an error message if a JSON request's members, types or ranges do not fit its operation, else None."""
    shape = input_shape(service, target.rsplit(".", 1)[-1])
    if shape is None or service in OWN:
        return None
    parameters = json.loads(body or b"{}")
    report = botocore.validate.ParamValidator().validate(parameters, shape)
    if report.has_errors():
        return TOO_SMALL.sub(IN_WORDS_OF_AWS, report.generate_report())
    token = parameters.get("NextToken", "0")
    if service == "sqs" and not token.isdecimal():  # ministack's tokens are numbers; it fails on any other
        return f"The NextToken {token!r} is not one that was returned."
    return None


def form_problem(service: str, body: bytes) -> str | None:
    """Return an error message if a query request is not UTF-8 or has an integer that is not a number, else None."""
    try:
        form = dict(parse_qsl(body.decode(), keep_blank_values=True, errors="strict"))
    except UnicodeDecodeError as error:
        return f"The body is not UTF-8: {error.reason} at {error.start}."
    shape = input_shape(service, form.get("Action", ""))
    return next(number_problems(shape, form), None) if shape else None


def s3_problem(query: dict[str, list[str]]) -> str | None:
    """Return an error message if a count in an S3 request's query string is not a number, else None."""
    for name in ("max-keys", "max-parts", "max-uploads", "partNumber"):
        if name in query and not query[name][0].isdecimal():
            return f"Provided {name} not an integer or within integer range: {query[name][0]!r}"
    return None


def number_problems(shape: botocore.model.Shape, form: dict[str, str]) -> Iterator[Any]:
    for name, value in form.items():
        member = shape.members.get(name)
        if member is not None and member.type_name in INTEGERS and not value.lstrip("-").isdecimal():
            yield f"Value '{value}' at '{name}' is not an integer."
