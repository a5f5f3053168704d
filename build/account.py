"""The AWS account that the bundle is installed in: its clients and identity, and messages for unusable credentials."""

import os
from dataclasses import dataclass, field
from typing import Any

import botocore.exceptions

# Error codes of STS for expired and for invalid credentials
# (docs.aws.amazon.com/STS/latest/APIReference/CommonErrors.html and API_GetCallerIdentity.html).
EXPIRED = ("ExpiredToken", "ExpiredTokenException", "RequestExpired")
WRONG = ("AuthFailure", "InvalidClientTokenId", "SignatureDoesNotMatch", "UnrecognizedClientException")
LOG_IN = "Log in, or set AWS_PROFILE."


@dataclass
class Account:
    """One account and region; `wait_seconds` is the interval between polls of an operation in progress."""

    session: Any
    endpoint: str | None = None
    wait_seconds: float = 3.0
    clients: dict[str, Any] = field(default_factory=dict)

    def __getattr__(self, service: str) -> Any:
        """Return the cached client of a service: account.s3, account.service_quotas for "service-quotas"."""
        name = service.replace("_", "-")
        if name not in self.clients:
            self.clients[name] = self.session.client(name, endpoint_url=self.endpoint)
        return self.clients[name]

    @property
    def region(self) -> str:
        return self.session.region_name or ""


def listed(client: Any, operation: str, member: str, **arguments: Any) -> list[dict[str, Any]]:
    """Return the entries of a list operation from all its pages."""
    return [entry for page in client.get_paginator(operation).paginate(**arguments) for entry in page.get(member, [])]


def connect() -> Account:
    """Return the account of the environment's credentials. Raise ValueError for an unknown profile."""
    import boto3

    try:
        session = boto3.Session(region_name=os.environ.get("AWS_REGION") or None)
    except botocore.exceptions.ProfileNotFound as error:
        name = os.environ.get("AWS_PROFILE") or os.environ.get("AWS_DEFAULT_PROFILE")
        raise ValueError(
            f"AWS_PROFILE is {name!r}, and no such profile is configured. `aws configure list-profiles` lists yours."
        ) from error
    return Account(session, os.environ.get("AWS_ENDPOINT_URL"))


def require_region(account: Account) -> None:
    """Raise ValueError if no region is set: without one, no client can be created and no credentials checked."""
    if not account.region:
        raise ValueError("no region is set. Set AWS_REGION, as in AWS_REGION=us-east-1.")


def identity(account: Account) -> dict[str, Any]:
    """Return GetCallerIdentity's response, with Account and Arn. Raise ValueError, with what to do, if it fails."""
    require_region(account)
    try:
        return account.sts.get_caller_identity()
    except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError) as error:
        raise ValueError(credentials_problem(error)) from error


def credentials_problem(error: Exception) -> str:
    """Return why credentials could not be used and what to do, as two sentences."""
    code = error.response["Error"]["Code"] if isinstance(error, botocore.exceptions.ClientError) else ""
    if code in EXPIRED:
        return f"the credentials have expired ({code}). {LOG_IN}"
    if code in WRONG:
        return f"AWS refuses the credentials ({code}). {LOG_IN}"
    if isinstance(error, botocore.exceptions.NoCredentialsError):
        return f"there are no credentials. {LOG_IN}"
    if isinstance(error, (botocore.exceptions.SSOError, botocore.exceptions.TokenRetrievalError)):
        return f"the sign-in of this profile has ended ({error}). Run: aws sso login"
    if isinstance(error, (botocore.exceptions.ConnectionError, botocore.exceptions.HTTPClientError)):
        return f"AWS cannot be reached: {error}. Check the network, and AWS_REGION."
    return f"{error}. {LOG_IN}"
