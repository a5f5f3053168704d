"""S3: give EventBridge events and notifications the form that was recorded from AWS.

docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html and ev-events.html
"""

import hashlib
import json
import logging
from collections.abc import Callable
from typing import Any

from ministack.services import eventbridge, lambda_svc, s3

from rehearsal.aws.adapter.policies import service_may

logger = logging.getLogger("rehearsal")
Event = dict[str, Any]
EMPTY_MD5 = hashlib.md5(b"", usedforsecurity=False).hexdigest()  # ETag of a delete marker, which has no content


def _record_as_aws(record: Event) -> Event:
    """Return the record of a notification in AWS's form."""
    name, place = record["eventName"], record["s3"]
    kept = dict(place["object"])
    if name.startswith("ObjectRemoved:"):
        kept = {member: value for member, value in kept.items() if member not in ("size", "eTag")}
    if name == "ObjectRemoved:DeleteMarkerCreated":
        kept["eTag"] = EMPTY_MD5
    if name.startswith("ObjectAcl:"):
        kept.pop("size", None)
    if name.startswith("ObjectRestore:"):
        kept.setdefault("sequencer", s3._next_event_sequencer("s3:ObjectCreated:Put"))
    version = "2.3" if name.startswith(("ObjectAcl:", "ObjectTagging:", "LifecycleExpiration:")) else "2.1"
    changed = {"eventVersion": version, "s3": {**place, "object": kept}}
    if name == "ObjectRestore:Completed":
        changed["userIdentity"] = {"principalId": f"AmazonCustomer:{place['bucket']['ownerIdentity']['principalId']}"}
    return {**record, **changed}


def _deliver(original: Callable[..., None]) -> Callable[..., None]:
    def deliver(arn: str, payload: Event, *more: Any, **named: Any) -> None:
        if "Records" in payload:
            payload = {**payload, "Records": [_record_as_aws(record) for record in payload["Records"]]}
        original(arn, payload, *more, **named)

    return deliver


def _invoke(arn: str, payload: Event, *more: Any) -> None:
    """Invoke the function of a notification if its policy allows the bucket to, which ministack does not check."""
    bucket = payload["Records"][0]["s3"]["bucket"]["arn"]
    record = lambda_svc._get_func_record_for_ref(arn)[0]
    if record and not service_may("s3.amazonaws.com", "lambda:InvokeFunction", arn, record["policy"], bucket):
        logger.warning("%s may not invoke %s: its event is dropped", bucket, arn)
        return
    _original_invoke(arn, payload, *more)


_original_invoke = s3._deliver_event_to_lambda
s3._deliver_event_to_sqs = _deliver(s3._deliver_event_to_sqs)
s3._deliver_event_to_sns = _deliver(s3._deliver_event_to_sns)
s3._deliver_event_to_lambda = _deliver(_invoke)


def _detail_as_aws(kind: str, detail: Event) -> Event:
    """Return the detail of an EventBridge event in AWS's form."""
    detail = {member: value for member, value in detail.items() if member != "event-version"}
    place = dict(detail["object"])
    if kind == "Object Deleted":
        place = {member: value for member, value in place.items() if member not in ("size", "etag")}
    if kind == "Object ACL Updated":
        place = {member: value for member, value in place.items() if member not in ("size", "sequencer")}
        detail.pop("reason", None)
    if kind.startswith("Object Restore"):
        place.pop("sequencer", None)
        record = s3._buckets[detail["bucket"]["name"]]["objects"].get(place["key"], {})
        detail["source-storage-class"] = record.get("storage_class") or "GLACIER"
        if kind == "Object Restore Completed":
            detail.pop("source-ip-address", None)
            detail["restore-expiry-time"] = s3._restore_expiry_iso(record["restore"]["expires_at"])
    return {**detail, "object": place}


def _dispatch_event(event: Event, view: Any = None) -> Any:
    if event.get("Source") != "aws.s3":
        return _original_dispatch(event, view)
    detail = _detail_as_aws(event["DetailType"], json.loads(event["Detail"]))
    return _original_dispatch({**event, "Detail": json.dumps(detail)}, None)


_original_dispatch = eventbridge._dispatch_event
eventbridge._dispatch_event = _dispatch_event


def _put_object_acl(bucket: str, key: str, body: bytes, headers: dict[str, str], query: Any = None) -> Any:
    """Set an object's access control list; if it changed, send the event, which ministack does not."""
    before = s3._get_object_acl(bucket, key, query)
    response = _original_put_acl(bucket, key, body, headers, query)
    if response[0] == 200 and s3._get_object_acl(bucket, key, query)[2] != before[2]:
        s3._fire_s3_event_async(bucket, key, "s3:ObjectAcl:Put", etag=s3._buckets[bucket]["objects"][key]["etag"])
    return response


s3._S3_EVENTBRIDGE_EVENT_DETAIL_TYPE["ObjectAcl:Put"] = "Object ACL Updated"
_original_put_acl = s3._put_object_acl
s3._put_object_acl = _put_object_acl
