"""Add services to ministack's, and set the actions, ARNs and tags that IAM evaluates their requests against."""

import json
from collections.abc import Callable, Iterable
from typing import Any

from ministack import app as ministack_app
from ministack.core import concurrency, iam_actions, router
from ministack.services import tagging

from rehearsal.aws import acting

Response = tuple[int, dict[str, str], bytes]
Handler = Callable[[str, str, dict[str, str], bytes, dict[str, list[str]]], Response]
ResourceOf = Callable[[str, dict[str, Any], str], str]

_resources_of: dict[str, ResourceOf] = {}


def add_service(name: str, target_prefix: str | None, handle: Handler, resource_of: ResourceOf) -> None:
    """Route a service's requests to `handle`, each on its own thread, after IAM has allowed the action.

    `resource_of(operation, parameters, path)` returns the ARN that policies are evaluated against.
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
    """Set the prefix of a service's IAM actions, if it differs from the service's name."""
    iam_actions.SERVICE_TO_IAM_NAMESPACE[service] = namespace


def authorize_on(service: str, resource_of: ResourceOf) -> None:
    """Set the function that returns the ARN against which policies for a service's operations are evaluated."""
    _resources_of[service] = resource_of


def add_tags(service: str, tagged: Callable[[], Iterable[tuple[str, list[dict[str, str]]]]]) -> None:
    """Set the function that returns (ARN, tags) of a service's resources, for conditions on aws:ResourceTag."""
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
            pass  # malformed: the operation's own checks report it
    return context


_original_context = iam_actions.request_tag_context
iam_actions.request_tag_context = _request_context
_original_action, _original_resource = iam_actions.extract_iam_action, iam_actions.extract_resource_arn
iam_actions.extract_iam_action = _extract_iam_action
iam_actions.extract_resource_arn = _extract_resource_arn
