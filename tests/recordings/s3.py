"""S3: versions and their deletion, policies, archived objects, and events sent to SQS, SNS and EventBridge."""

import json
import urllib.request
import uuid
from typing import Any

from botocore.config import Config

from recordings import Responses, create_queue, receive, refusal, replays, unique
from rehearsal.server import Emulator

OWNER = "ministack's owner has a name, which AWS no longer returns"
UNSUBSCRIBE = "nothing opens the address that ends a subscription, so the emulator has no true one"
ACCEPTED: dict[str, dict[str, str]] = {
    "test_s3_api::TestS3ObjectCRUD::test_delete_object_versioned": {
        "*.Owner.DisplayName": OWNER,
        "list-object-versions.EncodingType": "boto3 asks for it by itself, and decodes it; ministack sends keys as they are",
        "list-object-versions.Versions.0.Checksum*": "ministack does not list checksums",
        "get-object-with-version.ContentType": "ministack's default is application/octet-stream",
    },
    "test_s3_notifications_sns::TestS3NotificationsToSns::test_object_created_put": {"*.UnsubscribeURL": UNSUBSCRIBE},
    "test_s3_notifications_sqs::TestS3NotificationsToSQS::test_object_created_put_with_presigned_url_upload": {
        "receive_messages_region_2": "a rehearsal has one region"
    },
}
NOT_REPLAYED: dict[str, str] = {
    "test_s3_notifications_eventbridge::TestS3NotificationsToEventBridge::test_object_created_put_in_different_region": (
        "a rehearsal has one region"
    )
}
EVENTS = "test_s3_notifications_eventbridge::TestS3NotificationsToEventBridge::test"
SQS = "test_s3_notifications_sqs::TestS3NotificationsToSQS::test"


def create_bucket(aws: Emulator, versioning: str = "") -> str:
    s3, bucket = aws.client("s3"), unique("recorded")
    s3.create_bucket(Bucket=bucket, ObjectOwnership="ObjectWriter")
    s3.delete_public_access_block(Bucket=bucket)
    if versioning:
        version(aws, bucket, versioning)
    return bucket


def version(aws: Emulator, bucket: str, status: str) -> None:
    aws.client("s3").put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": status})


@replays("test_s3::TestS3DeepArchive::test_s3_get_deep_archive_object_restore")
def archived_object(aws: Emulator) -> Responses:
    s3, place = aws.client("s3"), {"Bucket": create_bucket(aws), "Key": "archived"}
    s3.put_object(**place, Body=b"x", StorageClass="DEEP_ARCHIVE")
    refused = refusal(s3.get_object, **place)
    request = {"Days": 30, "GlacierJobParameters": {"Tier": "Bulk"}}
    return {
        "get-object-invalid-state": refused,
        "get_object_invalid_state": refused,
        "restore_object": s3.restore_object(**place, RestoreRequest=request),
    }


@replays("test_s3_api::TestS3BucketCRUD::test_delete_versioned_bucket_with_objects")
def full_versioned_bucket(aws: Emulator) -> Responses:
    s3, place = aws.client("s3"), {"Bucket": create_bucket(aws, "Enabled"), "Key": "test-delete"}
    first = s3.put_object(**place, Body=b"x")["VersionId"]
    marker = s3.delete_object(**place)["VersionId"]
    return {
        "delete-with-obj-and-delete-marker": refusal(s3.delete_bucket, Bucket=place["Bucket"]),
        "delete-obj-by-version": s3.delete_object(**place, VersionId=first),
        "delete-with-only-delete-marker": refusal(s3.delete_bucket, Bucket=place["Bucket"]),
        "delete-marker-by-version": s3.delete_object(**place, VersionId=marker),
        "success-delete-bucket": s3.delete_bucket(Bucket=place["Bucket"]),
    }


@replays("test_s3_api::TestS3BucketPolicy::test_bucket_policy_exc")
def malformed_policies(aws: Emulator) -> Responses:
    put, bucket = aws.client("s3").put_bucket_policy, create_bucket(aws)
    return {
        "put-empty-bucket-policy": refusal(put, Bucket=bucket, Policy=""),
        "put-bucket-policy-randomstring": refusal(put, Bucket=bucket, Policy="invalid json"),
        "put-bucket-policy-empty-json": refusal(put, Bucket=bucket, Policy="{}"),
    }


@replays("test_s3_api::TestS3ObjectCRUD::test_delete_object_versioned")
def deleted_versions(aws: Emulator) -> Responses:
    s3, place = aws.client("s3"), {"Bucket": create_bucket(aws, "Enabled"), "Key": "test-delete"}
    put = s3.put_object(**place, Body=b"test-delete")
    marker = s3.delete_object(**place)
    got = s3.get_object(**place, VersionId=put["VersionId"])
    responses = {
        "put-object": put,
        "delete-with-bad-version": refusal(s3.delete_object, **place, VersionId="bad-version-id"),
        "delete-object": marker,
        "delete-object-2": s3.delete_object(**place),
        "delete-wrong-key": s3.delete_object(Bucket=place["Bucket"], Key="wrong-key"),
        "get-deleted-object": refusal(s3.get_object, **place),
        "get-object-with-version": {**got, "Body": got["Body"].read().decode()},
        "get-delete-marker": refusal(s3.get_object, **place, VersionId=marker["VersionId"]),
        "list-object-versions": s3.list_object_versions(Bucket=place["Bucket"], Prefix=place["Key"]),
        "delete-object-version": s3.delete_object(**place, VersionId=put["VersionId"]),
    }
    return responses | {
        "get-deleted-object-with-version": refusal(s3.get_object, **place, VersionId=put["VersionId"]),
        "delete-delete-marker": s3.delete_object(**place, VersionId=marker["VersionId"]),
    }


@replays("test_s3_api::TestS3ObjectCRUD::test_delete_objects_versioned")
def many_deleted_versions(aws: Emulator) -> Responses:
    s3, place = aws.client("s3"), {"Bucket": create_bucket(aws, "Enabled"), "Key": "test-delete"}
    put = s3.put_object(**place, Body=b"test-delete")

    def delete(*objects: tuple[str, str | None]) -> dict[str, Any]:
        listed = [{"Key": key} | ({"VersionId": version} if version else {}) for key, version in objects]
        return s3.delete_objects(Bucket=place["Bucket"], Delete={"Objects": listed})

    markers = delete(("test-delete", None), ("wrongkey", None), ("wrongkey-x", None))
    marker = by_key(markers)["Deleted"][0]["DeleteMarkerVersionId"]
    absent = str(uuid.uuid4())  # in the form of the emulator's version ids
    return {
        "put-object": put,
        "delete-objects-no-version-id": by_key(markers),
        "delete-objects-version-id": delete(("test-delete", put["VersionId"])),
        "delete-objects-wrong-version-id": by_key(delete(("test-delete", absent), ("wrong-key-2", absent))),
        "delete-objects-marker": delete(("test-delete", marker)),
    }


def by_key(response: dict[str, Any]) -> dict[str, Any]:
    return {
        name: sorted(value, key=lambda each: each["Key"]) if isinstance(value, list) else value
        for name, value in response.items()
    }


# --- events ----------------------------------------------------------------------------------------------------------


def to_eventbridge(aws: Emulator, versioning: str = "") -> tuple[str, str]:
    """Create a bucket whose events go through EventBridge to a queue; return the bucket and the queue's URL."""
    bucket, (url, arn), events = create_bucket(aws, versioning), create_queue(aws), aws.client("events")
    configuration: dict[str, Any] = {"EventBridgeConfiguration": {}}
    aws.client("s3").put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration=configuration)
    pattern = {"source": ["aws.s3"], "detail": {"bucket": {"name": [bucket]}}}
    events.put_rule(Name=bucket, EventPattern=json.dumps(pattern))
    events.put_targets(Rule=bucket, Targets=[{"Id": "queue", "Arn": arn}])
    return bucket, url


def to_queue(aws: Emulator, *kinds: str, versioning: str = "") -> tuple[str, str]:
    """Create a bucket that sends events of these types to a queue; return the bucket and the queue's URL."""
    bucket, (url, arn) = create_bucket(aws, versioning), create_queue(aws)
    configuration: dict[str, Any] = {"QueueConfigurations": [{"QueueArn": arn, "Events": list(kinds)}]}
    aws.client("s3").put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration=configuration)
    return bucket, url


def events_of(aws: Emulator, url: str, count: int) -> list[dict[str, Any]]:
    """Return the EventBridge events in a queue, sorted by detail type."""
    events = [json.loads(message["Body"]) for message in receive(aws, url, count, 5)]
    return sorted(events, key=lambda event: event["detail-type"])


def records_of(aws: Emulator, url: str, count: int) -> list[dict[str, Any]]:
    """Return the records of the S3 events in a queue, sorted by event name; S3's test event has no records."""
    bodies = [json.loads(message["Body"]) for message in receive(aws, url, count + 1, 5)]
    records = [record for body in bodies for record in body.get("Records", [])]
    return sorted(
        records, key=lambda each: (each["eventName"], each["s3"]["object"].get("eTag", ""), each["s3"]["object"]["key"])
    )


@replays(f"{EVENTS}_object_created_put")
def created_and_deleted(aws: Emulator) -> Responses:
    s3, (bucket, url) = aws.client("s3"), to_eventbridge(aws)
    s3.put_object(Bucket=bucket, Key="test-key", Body=b"data")
    s3.delete_object(Bucket=bucket, Key="test-key")
    events = {event["detail-type"]: event for event in events_of(aws, url, 2)}
    return {"object_created": events.get("Object Created"), "object_deleted": events.get("Object Deleted")}


def versioned(aws: Emulator, bucket: str) -> tuple[Responses, Responses]:
    """Write and delete versions of an object; return the responses, and the object's bucket and key."""
    s3, place = aws.client("s3"), {"Bucket": bucket, "Key": "test-key"}
    first = s3.put_object(**place, Body=b"data")
    second = s3.put_object(**place, Body=b"data-version2"[:13])
    marker = s3.delete_object(**place)
    gone = s3.delete_object(**place, VersionId=first["VersionId"])
    return {"obj-ver1": first, "obj-ver2": second, "delete-marker": marker, "delete-version": gone}, place


def suspended(aws: Emulator, place: dict[str, str], marker: str) -> Responses:
    version(aws, place["Bucket"], "Suspended")
    s3 = aws.client("s3")
    null = s3.put_object(**place, Body=b"data-version3")
    return {"add-null-version": null, "del-delete-marker": s3.delete_object(**place, VersionId=marker)}


@replays(f"{EVENTS}_object_created_put_versioned")
def versions_to_eventbridge(aws: Emulator) -> Responses:
    """Return the later messages under both names, as the recording does."""
    bucket, url = to_eventbridge(aws, "Enabled")
    responses, place = versioned(aws, bucket)
    events_of(aws, url, 4)
    responses |= suspended(aws, place, responses["delete-marker"]["VersionId"])
    later = events_of(aws, url, 2)
    return responses | {"message-versioning-active": later, "message-versioning-suspended": later}


@replays(f"{SQS}_object_created_put_versioned")
def versions_to_queue(aws: Emulator) -> Responses:
    bucket, url = to_queue(aws, "s3:ObjectCreated:*", "s3:ObjectRemoved:*", versioning="Enabled")
    responses, place = versioned(aws, bucket)
    active = records_of(aws, url, 4)
    responses |= suspended(aws, place, responses["delete-marker"]["VersionId"])
    return responses | {"message-versioning-active": active, "message-versioning-suspended": records_of(aws, url, 2)}


def put_acls(aws: Emulator, bucket: str, key: str) -> None:
    """Write an object, then its ACL three times: canned public, canned private, and as a list of grants."""
    s3, place = aws.client("s3"), {"Bucket": bucket, "Key": key}
    s3.put_object(**place, Body=b"something")
    s3.put_object_acl(**place, ACL="public-read")
    public = s3.get_object_acl(**place)
    s3.put_object_acl(**place, ACL="private")
    s3.put_object_acl(**place, AccessControlPolicy={"Owner": public["Owner"], "Grants": public["Grants"]})


@replays(f"{EVENTS}_object_put_acl")
def access_lists_to_eventbridge(aws: Emulator) -> Responses:
    bucket, url = to_eventbridge(aws)
    put_acls(aws, bucket, "my_key_acl")
    return {"messages": {"messages": events_of(aws, url, 4)}}


@replays(f"{SQS}_object_put_acl")
def access_lists_to_queue(aws: Emulator) -> Responses:
    bucket, url = to_queue(aws, "s3:ObjectAcl:Put")
    put_acls(aws, bucket, "my_key_acl")
    return {"receive_messages": {"messages": records_of(aws, url, 3)}}


def restore(aws: Emulator, bucket: str, key: str) -> None:
    s3, place = aws.client("s3"), {"Bucket": bucket, "Key": key}
    s3.put_object(**place, Body=b"something", StorageClass="GLACIER")
    request = {"Days": 1, "GlacierJobParameters": {"Tier": "Expedited"}}
    s3.restore_object(**place, RestoreRequest=request)


@replays(f"{EVENTS}_restore_object")
def restored_to_eventbridge(aws: Emulator) -> Responses:
    bucket, url = to_eventbridge(aws)
    restore(aws, bucket, "my_key_restore")
    events = [event for event in events_of(aws, url, 3) if event["detail-type"] != "Object Created"]
    return {"messages": {"messages": sorted(events, key=lambda event: event["detail-type"], reverse=True)}}


@replays(f"{SQS}_restore_object")
def restored_to_queue(aws: Emulator) -> Responses:
    bucket, url = to_queue(aws, "s3:ObjectRestore:*")
    restore(aws, bucket, "my_key_restore")
    records = records_of(aws, url, 2)
    return {"receive_messages": {"messages": sorted(records, key=lambda each: each["eventName"], reverse=True)}}


@replays(f"{SQS}_object_created_put")
def created_to_queue(aws: Emulator) -> Responses:
    s3, (bucket, url) = aws.client("s3"), to_queue(aws, "s3:ObjectCreated:*")
    s3.put_object(Bucket=bucket, Key="my_key_0", Body=b"something")
    s3.put_object(Bucket=bucket, Key="my_key_1", Body=b"something else")
    return {"receive_messages": {"messages": records_of(aws, url, 2)}}


@replays(f"{SQS}_object_created_put_with_presigned_url_upload")
def presigned_upload(aws: Emulator) -> Responses:
    bucket, url = to_queue(aws, "s3:ObjectCreated:*")
    place = {"Bucket": bucket, "Key": "key-by-hostname"}
    address = aws.client("s3", config=Config(signature_version="s3v4")).generate_presigned_url(
        "put_object", Params=place
    )
    request = urllib.request.Request(address, data=b"something", method="PUT")  # noqa: S310 (the emulator's own address)
    urllib.request.urlopen(request, timeout=10).close()  # noqa: S310 (the same)
    return {"receive_messages": {"messages": records_of(aws, url, 1)}}


@replays("test_s3_notifications_sns::TestS3NotificationsToSns::test_object_created_put")
def created_to_topic(aws: Emulator) -> Responses:
    s3, sns, (url, queue) = aws.client("s3"), aws.client("sns"), create_queue(aws)
    topic, bucket = sns.create_topic(Name=unique("recorded"))["TopicArn"], create_bucket(aws)
    allow = {
        "Effect": "Allow",
        "Principal": {"Service": "s3.amazonaws.com"},
        "Action": "sns:Publish",
        "Resource": topic,
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [allow]})
    sns.set_topic_attributes(TopicArn=topic, AttributeName="Policy", AttributeValue=policy)
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=queue)
    configuration: dict[str, Any] = {"TopicConfigurations": [{"TopicArn": topic, "Events": ["s3:ObjectCreated:*"]}]}
    s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration=configuration)
    s3.put_object(Bucket=bucket, Key="bucket-key", Body=b"first event")
    s3.put_object(Bucket=bucket, Key="bucket-key", Body=b"second event")
    notices = [json.loads(message["Body"]) for message in receive(aws, url, 3, 3)]
    return {"receive_messages": {"messages": [notice for notice in notices if "Records" in notice["Message"]]}}
