"""Evaluate IAM where ministack does not: trust policies, actions that a request implies, and git."""

import hmac
import json
import uuid
from typing import Any

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from ministack.core import iam_evaluator
from ministack.core.responses import request_scope
from ministack.services import ec2, iam, sts

from rehearsal.aws import trust
from rehearsal.aws.adapter.running import ACCOUNT, REGION


class AccessDenied(Exception):
    """A principal lacks a permission; the message is worded as AWS's."""


def credentials_of(role_arn: str, session_name: str, service: str, source_arn: str = "") -> dict[str, str]:
    """Return the credentials, as environment variables, of a service that assumes a role.

    The role's trust policy is evaluated with the condition keys that the service sends; `source_arn` is the resource
    that it acts for. Raise AccessDenied if the policy does not let the service assume the role.
    """
    name = role_arn.rsplit("/", 1)[-1]
    with request_scope(ACCOUNT, REGION):
        role = iam._roles.get(name)
    if role is None or not _trusts(role["AssumeRolePolicyDocument"], service, source_arn):
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


def _trusts(document: str | dict[str, Any], service: str, source_arn: str = "") -> bool:
    """Return whether a trust policy lets a service assume the role, given the condition keys that the service sends."""
    policy = json.loads(document) if isinstance(document, str) else document
    context = iam_evaluator.EvalContext(
        principal_arn=f"arn:aws:iam::{ACCOUNT}:service/{service}",
        principal_type="Service",
        principal_account=ACCOUNT,
        action="sts:AssumeRole",
        resource_arn="*",
        region=REGION,
        service_context=trust.context(service, source_arn),
    )
    return any(
        statement["Effect"] == "Allow"
        and iam_evaluator._service_principal_matches(statement.get("Principal"), service)
        and iam_evaluator._conditions_met(statement.get("Condition", {}), context)
        for statement in policy["Statement"]
    )


def caller_may(access_key: str, action: str, resource: str, context: dict[str, Any] | None = None) -> None:
    """Raise AccessDenied unless the caller's policies allow an action that a request implies, such as iam:PassRole."""
    denied = iam_evaluator.enforce(access_key, action, action.split(":")[0], REGION, resource, context)
    if denied is not None:
        who = getattr(denied, "principal_arn", None) or "the caller"
        raise AccessDenied(f"User: {who} is not authorized to perform: {action} on resource: {resource}")


def role_of(access_key: str) -> str | None:
    """Return the ARN of the role behind a session's access key; None for other keys, such as the root user's."""
    found = iam_evaluator.resolve_credential(access_key, ACCOUNT)
    if isinstance(found, iam_evaluator.CredentialResolutionError) or ":assumed-role/" not in found.principal_arn:
        return None
    with request_scope(ACCOUNT, REGION):
        return iam._roles[found.principal_arn.split("/")[1]]["Arn"]


def verify_git_signature(username: str, password: str, host: str, path: str) -> str:
    """Return the access key in the user name that git sends, after verifying the signature in the password.

    Raise AccessDenied for an unknown key or a wrong signature. rehearsal/git_credentials.py describes what is signed.
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
    """Raise AccessDenied unless the policies behind an access key, whose signature was verified, allow a git action."""
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


def vpc_of(kind: str, name: str) -> str | None:
    """Return the VPC of a subnet or security group; None if there is no such subnet or group."""
    with request_scope(ACCOUNT, REGION):
        ec2._init_defaults()
        found = (ec2._subnets if kind == "subnet" else ec2._security_groups).get(name)
    return found and found["VpcId"]
