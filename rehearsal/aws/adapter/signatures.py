"""Verify Signature Version 4 of every request, including those with the root key, which ministack does not verify."""

import os
from typing import Any

from ministack.core import iam_evaluator, sigv4
from ministack.services.cloudformation import custom_resource

from rehearsal.aws.adapter.running import ACCOUNT

NEEDS_CHUNKS = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"  # each chunk of the body has a signature of its own

Headers = dict[str, str]
Query = dict[str, list[str]]


class BadSignature(Exception):
    """A request is not signed correctly: AWS's error code for Signature Version 4, and its message."""

    def __init__(self, code: str, message: str):
        super().__init__(message)
        self.code = code
        self.message = message


def _is_root_access_key(access_key_id: str) -> bool:
    """Return whether a key is this rehearsal's root key; ministack also accepts "", `test` and any account number."""
    return access_key_id == os.environ["AWS_ACCESS_KEY_ID"]


iam_evaluator.is_root_access_key = _is_root_access_key


class Signature:
    """A request's signature: checked at once as far as possible without the body, and completely by `verify`."""

    def __init__(self, method: str, raw_path: str, query: Query, headers: Headers):
        """Parse the signature, check its time and look up the key. Raise BadSignature for errors that need no body."""
        self.request = (method, raw_path, query, headers)
        self.presigned = "authorization" not in headers
        self.parts = _parse(query, headers, self.presigned)
        self.service = self.parts.service
        self._check_time(query)
        token = (
            (query.get("X-Amz-Security-Token") or [""])[0] if self.presigned else headers.get("x-amz-security-token")
        )
        found = iam_evaluator.resolve_credential(self.parts.access_key_id, ACCOUNT, token)
        if isinstance(found, iam_evaluator.CredentialResolutionError):
            raise BadSignature(found.code, found.message)
        self.secret = found.secret_access_key
        self.is_root = found.principal_type == "Root"
        self.payload_hash = headers.get("x-amz-content-sha256", "")

    @property
    def waits_for_body(self) -> bool:
        """Whether verifying needs the body: no header has its hash, or its chunks are signed."""
        if self.presigned and self.service == "s3":
            return False
        return not self.payload_hash or self.payload_hash.startswith(NEEDS_CHUNKS)

    def _check_time(self, query: Query) -> None:
        if not self.presigned or "X-Amz-Expires" not in query:
            skewed = sigv4.request_time_failure(self.parts)
        else:
            try:
                expired = sigv4.presigned_request_is_expired(self.parts.amz_date, query["X-Amz-Expires"][0])
            except ValueError as error:
                raise BadSignature("IncompleteSignature", f"X-Amz-Date or X-Amz-Expires: {error}") from error
            skewed = ("AccessDenied", "Request has expired") if expired else None
        if skewed:
            raise BadSignature(*skewed)

    def verify(self, body: bytes = b"") -> None:
        """Raise BadSignature unless the signature matches the one computed with the secret key."""
        failure = sigv4.header_signature_failure(self.parts, self.secret, *self.request, body, presigned=self.presigned)
        if failure:
            raise BadSignature(*failure)


def _parse(query: Query, headers: Headers, presigned: bool) -> Any:
    if "AWSAccessKeyId" in query or headers.get("authorization", "").startswith("AWS "):
        # Buckets created since June 2020 do not accept Signature Version 2, still boto3's default for presigned URLs:
        # aws.amazon.com/blogs/aws/amazon-s3-update-sigv2-deprecation-period-extended-modified/
        message = "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256."
        raise BadSignature("InvalidRequest", message)
    if presigned and "X-Amz-Signature" not in query:
        raise BadSignature("MissingAuthenticationToken", "Request is missing Authentication Token")
    if not presigned and not headers["authorization"].startswith("AWS4-HMAC-SHA256 "):
        raise BadSignature("IncompleteSignature", "Only AWS4-HMAC-SHA256 is emulated.")
    if presigned and query.get("X-Amz-Algorithm") != ["AWS4-HMAC-SHA256"]:
        raise BadSignature("IncompleteSignature", "Only AWS4-HMAC-SHA256 is emulated.")
    parts = sigv4.parse_query_signature(query) if presigned else sigv4.parse_header_signature(headers)
    if isinstance(parts, tuple):
        raise BadSignature(*parts)
    return parts


def awaits_response(token: str) -> bool:
    """Return whether a token was sent to a custom resource that has not responded yet."""
    with custom_resource._lock:
        entry = custom_resource._pending.get(token)
        return entry is not None and not entry["event"].is_set()
