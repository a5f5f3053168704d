"""Signature Version 4 of every request, the root key's too: ministack takes that key's word for it."""

import os
from typing import Any

from ministack.core import iam_evaluator, sigv4
from ministack.services.cloudformation import custom_resource

from rehearsal.aws.adapter.running import ACCOUNT

NEEDS_CHUNKS = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"  # each chunk of the body has a signature of its own

Headers = dict[str, str]
Query = dict[str, list[str]]


class BadSignature(Exception):
    """A request is not signed as it has to be: AWS's error code, in the words of Signature Version 4, and its message."""

    def __init__(self, code: str, message: str):
        super().__init__(message)
        self.code = code
        self.message = message


def _is_root_access_key(access_key_id: str) -> bool:
    """ministack knows more root keys: none at all, `test` and every account's number."""
    return access_key_id == os.environ["AWS_ACCESS_KEY_ID"]


iam_evaluator.is_root_access_key = _is_root_access_key


class Signature:
    """A request's signature, and what is left to check of it once the body is there."""

    def __init__(self, method: str, raw_path: str, query: Query, headers: Headers):
        """Read the signature and look the key up. Raises BadSignature for what needs no body to be refused."""
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
        """Whether the signature covers a body whose hash no header says."""
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
        """Compare the signature with what the secret gives. Raises BadSignature when they differ."""
        failure = sigv4.header_signature_failure(self.parts, self.secret, *self.request, body, presigned=self.presigned)
        if failure:
            raise BadSignature(*failure)


def _parse(query: Query, headers: Headers, presigned: bool) -> Any:
    if "AWSAccessKeyId" in query or headers.get("authorization", "").startswith("AWS "):
        # No bucket since June 2020 takes Signature Version 2, which boto3 still gives presigned addresses by default:
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
    """Whether a custom resource was sent this token, and has not responded yet."""
    with custom_resource._lock:
        entry = custom_resource._pending.get(token)
        return entry is not None and not entry["event"].is_set()
