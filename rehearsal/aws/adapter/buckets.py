"""S3 buckets: deletion, template properties that ministack drops, KMS keys, CORS, and versions in events."""

import contextvars
import json
from typing import Any

from ministack import app as ministack_app
from ministack.core import router
from ministack.services import eventbridge, s3
from ministack.services.cloudformation import provisioners

from rehearsal.aws.adapter.cloudformation import runs_on_worker_thread, when_made
from rehearsal.aws.adapter.identities import AccessDenied, caller_may
from rehearsal.aws.adapter.running import client, root_credentials
from rehearsal.aws.adapter.services import Response


def _delete_bucket(physical_id: str, properties: dict[str, Any]) -> None:
    """Delete a stack's bucket. Raise ValueError, as AWS does, if it still has versions or delete markers."""
    held = client("s3", root_credentials()).list_object_versions(Bucket=physical_id, MaxKeys=1)
    if held.get("Versions") or held.get("DeleteMarkers"):
        raise ValueError(f"The bucket you tried to delete is not empty. You must delete all versions in {physical_id}.")
    _original_delete_bucket(physical_id, properties)


def _update_bucket(physical_id: str, old: dict[str, Any], new: dict[str, Any], *more: Any) -> Any:
    _note_key(physical_id, new)
    updated = _original_update_bucket(physical_id, old, new, *more)
    _apply_settings(physical_id, new)
    return updated


def _apply_settings(bucket: str, properties: dict[str, Any]) -> None:
    """Apply a template's lifecycle rules and tags, which ministack drops."""
    s3_client, rules = client("s3", root_credentials()), properties.get("LifecycleConfiguration", {}).get("Rules", [])
    if rules:
        configuration = {"Rules": [_lifecycle_rule(rule) for rule in rules]}
        s3_client.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration=configuration)
    else:
        s3_client.delete_bucket_lifecycle(Bucket=bucket)
    s3_client.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": properties.get("Tags", [])})


# Property of a template's rule -> member of the API's rule, and the member within it (None: the same structure).
_LIFECYCLE = {
    "ExpirationInDays": ("Expiration", "Days"),
    "ExpiredObjectDeleteMarker": ("Expiration", "ExpiredObjectDeleteMarker"),
    "NoncurrentVersionExpiration": ("NoncurrentVersionExpiration", None),
    "AbortIncompleteMultipartUpload": ("AbortIncompleteMultipartUpload", None),
}


def _lifecycle_rule(rule: dict[str, Any]) -> dict[str, Any]:
    """Return a template's lifecycle rule in the API's form. Raise ValueError for a property that is not emulated."""
    made: dict[str, Any] = {"ID": rule["Id"]} if "Id" in rule else {}
    made |= {"Status": rule["Status"], "Filter": {"Prefix": rule.get("Prefix", "")}}
    for name in rule.keys() - {"Id", "Status", "Prefix"}:
        if name not in _LIFECYCLE:
            raise ValueError(
                f"The emulator has no {name} in a bucket's lifecycle rules. It has: {', '.join(_LIFECYCLE)}."
            )
        member, inner = _LIFECYCLE[name]
        made.setdefault(member, {}).update({inner: rule[name]} if inner else rule[name])
    return made


_original_update_bucket = provisioners._RESOURCE_HANDLERS["AWS::S3::Bucket"]["update"]
provisioners._RESOURCE_HANDLERS["AWS::S3::Bucket"]["update"] = _update_bucket
_original_delete_bucket = provisioners._RESOURCE_HANDLERS["AWS::S3::Bucket"]["delete"]
provisioners._RESOURCE_HANDLERS["AWS::S3::Bucket"]["delete"] = _delete_bucket
runs_on_worker_thread("AWS::S3::Bucket")


_bucket_keys: dict[str, str] = {}  # bucket -> ARN of its default KMS key
# HTTP method -> KMS actions that a caller needs besides its S3 permissions:
# docs.aws.amazon.com/AmazonS3/latest/userguide/UsingKMSEncryption.html
_KEY_ACTIONS = {"GET": ["kms:Decrypt"], "PUT": ["kms:GenerateDataKey"], "POST": ["kms:GenerateDataKey", "kms:Decrypt"]}

# Query parameters of requests that neither read nor write an object's content.
_NOT_CONTENT = {"acl", "attributes", "legal-hold", "retention", "tagging"}


def _note_key(bucket: str, properties: dict[str, Any]) -> None:
    """Remember the KMS key of a bucket if its template sets one, and forget the previous one."""
    _bucket_keys.pop(bucket, None)
    for rule in properties.get("BucketEncryption", {}).get("ServerSideEncryptionConfiguration", []):
        if key := rule["ServerSideEncryptionByDefault"].get("KMSMasterKeyID"):
            _bucket_keys[bucket] = key


async def _s3(method: str, path: str, headers: dict[str, str], body: bytes, query: dict[str, list[str]]) -> Response:
    """Require permissions on the KMS keys of the request's buckets, as S3 does; stored data is not encrypted."""
    bucket, _, name = path.lstrip("/").partition("/")
    asked = [(bucket, action) for action in _KEY_ACTIONS.get(method, []) if name and not _NOT_CONTENT & query.keys()]
    if source := headers.get("x-amz-copy-source"):
        asked.append((source.lstrip("/").split("/")[0], "kms:Decrypt"))  # a copy reads its source
    access_key = router.extract_access_key_id(headers, query)
    for of, action in asked:
        try:
            if access_key and of in _bucket_keys:
                caller_may(access_key, action, _bucket_keys[of])
        except AccessDenied as denied:
            return s3._error("AccessDenied", str(denied), 403)
    return await _original_s3(method, path, headers, body, query)


def key_of(bucket: str) -> str | None:
    """Return the ARN of a bucket's KMS key; None if it uses S3's own keys (SSE-S3)."""
    return _bucket_keys.get(bucket)


def bucket_allows_origin(method: str, path: str, headers: dict[str, str]) -> bool:
    """Return whether the bucket's CORS configuration allows the request's origin and, for a preflight, its method."""
    bucket, _, key = path.lstrip("/").partition("/")
    if not bucket or s3._bucket_owner_account(bucket) is None:
        return False
    if method == "OPTIONS":
        return s3.cors_preflight(bucket, key, headers)[0] == 200
    return bool(s3.cors_response_headers(bucket, method, headers))


when_made("AWS::S3::Bucket", _note_key)
when_made("AWS::S3::Bucket", _apply_settings)
_original_s3 = ministack_app.SERVICE_HANDLERS["s3"]
ministack_app.SERVICE_HANDLERS["s3"] = _s3


# Version id of the S3 event that is being sent: `s3._fire_s3_event` gets it, but does not pass it to EventBridge.
_version_of_event: contextvars.ContextVar[str | None] = contextvars.ContextVar("version_of_event", default=None)


def _fire_s3_event(*arguments: Any, version_id: str | None = None, **more: Any) -> None:
    token = _version_of_event.set(version_id)
    try:
        _original_fire(*arguments, version_id=version_id, **more)
    finally:
        _version_of_event.reset(token)


def _dispatch_event(event: dict[str, Any], view: Any = None) -> Any:
    """Add the version id to S3's EventBridge events, as AWS does for a versioned bucket; ministack omits it."""
    version = _version_of_event.get()
    if event.get("Source") == "aws.s3" and version:
        detail = json.loads(event["Detail"])
        detail["object"]["version-id"] = version
        event = {**event, "Detail": json.dumps(detail)}
    return _original_dispatch(event, view)


_original_fire, _original_dispatch = s3._fire_s3_event, eventbridge._dispatch_event
s3._fire_s3_event = _fire_s3_event
eventbridge._dispatch_event = _dispatch_event
