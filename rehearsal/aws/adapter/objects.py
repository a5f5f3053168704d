"""S3: reject the requests that AWS rejects, and return the members and headers that AWS returns about objects."""

import json
import re
import uuid
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import unquote
from xml.etree.ElementTree import Element, ParseError, SubElement, tostring

from ministack import app as ministack_app
from ministack.services import s3

from rehearsal.aws.adapter import buckets
from rehearsal.aws.adapter.identity_policies import statements_of
from rehearsal.aws.adapter.services import Response
from rehearsal.aws.adapter.templates import hold_to

_NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
MAX_DELETED = 1000  # docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html


# --- versions --------------------------------------------------------------------------------------------------------


async def _s3(method: str, path: str, headers: dict[str, str], body: bytes, query: dict[str, list[str]]) -> Response:
    """Handle a request to S3: reject a version id of invalid form, and complete the content of errors."""
    version = (query.get("versionId") or ["null"])[0]
    if version != "null" and not _is_uuid(version):
        argument = {"ArgumentName": "versionId", "ArgumentValue": version}
        if method == "HEAD":
            return 400, {}, b""
        return s3._object_error("InvalidArgument", "Invalid version id specified", 400, **argument)
    status, response_headers, content = await _original_s3(method, path, headers, body, query)
    content = content.encode() if isinstance(content, str) else content
    return status, response_headers, _explained(method, path, status, response_headers, content, version)


def _explained(method: str, path: str, status: int, headers: dict[str, str], content: bytes, version: str) -> bytes:
    """Return the content of an error with the members that AWS adds to code and message."""
    bucket, _, key = unquote(path).lstrip("/").partition("/")
    code = re.search(rb"<Code>(\w+)</Code>", content) if status >= 400 else None
    more = {
        b"NoSuchVersion": {"Key": key, "VersionId": version},
        b"MethodNotAllowed": {"Method": method}
        | ({"ResourceType": "DeleteMarker"} if "x-amz-delete-marker" in headers else {}),
        b"BucketNotEmpty": {"BucketName": bucket},
        b"InvalidObjectState": {},
    }.get(code[1] if code else b"")
    if more is None:
        return content
    root = s3.fromstring(content)
    for resource in root.findall("Resource"):  # AWS has it in other errors only
        root.remove(resource)
    for name, value in more.items():
        SubElement(root, name).text = value
    if "BucketName" in more and s3._bucket_versioning.get(bucket):
        message = root.find("Message")
        message.text = "The bucket you tried to delete is not empty. You must delete all versions in the bucket."
    return tostring(root)


def _is_uuid(text: str) -> bool:
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False


def _delete_objects(bucket: str, body: bytes, headers: dict[str, str] | None = None) -> Response:
    """Delete objects: reject more than AWS accepts, and report missing versions, which ministack reports as deleted."""
    try:
        root = s3.fromstring(body)
    except ParseError:
        return s3._error("MalformedXML", s3._MALFORMED_XML, 400)
    objects = [element for element in root if element.tag.rpartition("}")[2] == "Object"]
    if not 0 < len(objects) <= MAX_DELETED:
        return s3._error("MalformedXML", s3._MALFORMED_XML, 400)
    absent = [element for element in objects if not _is_there(bucket, element)]
    for element in absent:
        root.remove(element)
    status, response_headers, content = _original_delete_objects(bucket, tostring(root), headers)
    if status != 200 or not absent:
        return status, response_headers, content
    result = s3.fromstring(content)
    for element in absent:
        error = SubElement(result, f"{{{_NAMESPACE}}}Error" if "}" in result.tag else "Error")
        values = {"Code": "NoSuchVersion", "Message": "The specified version does not exist."}
        for name, value in (values | _members(element)).items():
            SubElement(error, f"{{{_NAMESPACE}}}{name}" if "}" in result.tag else name).text = value
    return status, {**response_headers, "Content-Length": str(len(tostring(result)))}, tostring(result)


def _members(element: Element) -> dict[str, str]:
    return {child.tag.rpartition("}")[2]: child.text or "" for child in element}


def _is_there(bucket: str, element: Element) -> bool:
    """Return whether an entry of a deletion names no version, or one that exists."""
    named = _members(element)
    version = named.get("VersionId", "null")
    versions = s3._object_versions.get((bucket, named.get("Key", ""))) or []
    return version == "null" or any(each["version_id"] == version for each in versions)


_original_s3 = ministack_app.SERVICE_HANDLERS["s3"]
ministack_app.SERVICE_HANDLERS["s3"] = _s3
_original_delete_objects = s3._delete_objects
s3._delete_objects = _delete_objects


# --- encryption and checksums ----------------------------------------------------------------------------------------


def _put_object(bucket: str, key: str, body: bytes, headers: dict[str, str]) -> Response:
    """Write an object; return the checksums that came with it and its encryption in the response's headers."""
    status, response_headers, content = _original_put_object(bucket, key, body, headers)
    if status == 200:
        present = s3._buckets[bucket]["objects"][key].get("checksums") or {}
        checksums = {f"x-amz-checksum-{name.lower()}": value for name, value in present.items()}
        kind = {"x-amz-checksum-type": "FULL_OBJECT"} if checksums else {}
        response_headers = encryption_of(bucket) | checksums | kind | response_headers
    return status, response_headers, content


def _object_response_headers(record: dict[str, Any], bucket: str = "", key: str = "", **more: Any) -> dict[str, str]:
    return encryption_of(bucket) | _original_headers(record, bucket, key, **more)


def encryption_of(bucket: str) -> dict[str, str]:
    """Return the headers about encryption: the bucket's KMS key, or SSE-S3, which all objects have had since 2023.

    docs.aws.amazon.com/AmazonS3/latest/userguide/default-encryption-faq.html
    """
    if key := buckets.key_of(bucket):
        return {"x-amz-server-side-encryption": "aws:kms", "x-amz-server-side-encryption-aws-kms-key-id": key}
    return {"x-amz-server-side-encryption": "AES256"}


_original_put_object, _original_headers = s3._put_object, s3._object_response_headers
s3._put_object, s3._object_response_headers = _put_object, _object_response_headers


# --- policies --------------------------------------------------------------------------------------------------------


def problem_of_policy(bucket: str, text: str) -> str | None:
    """Return AWS's message about a malformed bucket policy, or None."""
    try:
        policy = json.loads(text) if text.startswith("{") else None
    except (ValueError, RecursionError):
        policy = None
    if policy is None:
        return "Policies must be valid JSON and the first byte must be '{'"
    if not policy.get("Statement"):
        return "Missing required field Statement"
    if not (statements := statements_of(policy)):
        return "Invalid policy syntax."
    for statement in statements:
        if problem := _problem_of_statement(bucket, statement):
            return problem
    return None


def _problem_of_statement(bucket: str, statement: dict[str, Any]) -> str | None:
    for names in (("Effect",), ("Principal", "NotPrincipal"), ("Action", "NotAction"), ("Resource", "NotResource")):
        if not any(name in statement for name in names):
            return f"Missing required field {names[0]}"
    if statement["Effect"] not in ("Allow", "Deny"):
        return f"Invalid effect: {statement['Effect']}"
    resources, actions = (statement.get(name, []) for name in ("Resource", "Action"))
    for resource in resources if isinstance(resources, list) else [resources]:
        named = resource.removeprefix("arn:aws:s3:::").split("/")[0]
        if resource != "*" and not (resource.startswith("arn:aws:s3:::") and fnmatchcase(bucket, named)):
            return "Policy has invalid resource"
    for action in actions if isinstance(actions, list) else [actions]:
        if action != "*" and not action.lower().startswith("s3:"):
            return "Policy has invalid action"
    return None


def _put_bucket_policy(name: str, body: bytes) -> Response:
    problem = problem_of_policy(name, body.decode(errors="replace")) if name in s3._buckets else None
    return s3._object_error("MalformedPolicy", problem, 400) if problem else _original_put_policy(name, body)


def _require_policy(name: str, properties: dict[str, Any]) -> None:
    document = properties.get("PolicyDocument", {})
    text = document if isinstance(document, str) else json.dumps(document)
    if problem := problem_of_policy(properties["Bucket"], text):
        raise ValueError(f"{problem} (Service: S3, Status Code: 400, Error Code: MalformedPolicy)")


_original_put_policy = s3._put_bucket_policy
s3._put_bucket_policy = _put_bucket_policy
hold_to("AWS::S3::BucketPolicy", _require_policy)


# --- configurations of buckets ---------------------------------------------------------------------------------------

# ministack's function -> root element of its document: docs.aws.amazon.com/AmazonS3/latest/API, PutBucket...
_DOCUMENTS = {
    "_put_bucket_accelerate": "AccelerateConfiguration",
    "_put_bucket_cors": "CORSConfiguration",
    "_put_bucket_encryption": "ServerSideEncryptionConfiguration",
    "_put_bucket_lifecycle": "LifecycleConfiguration",
    "_put_bucket_logging": "BucketLoggingStatus",
    "_put_bucket_notification": "NotificationConfiguration",
    "_put_bucket_ownership_controls": "OwnershipControls",
    "_put_bucket_replication": "ReplicationConfiguration",
    "_put_bucket_request_payment": "RequestPaymentConfiguration",
    "_put_bucket_tagging": "Tagging",
    "_put_bucket_versioning": "VersioningConfiguration",
    "_put_bucket_website": "WebsiteConfiguration",
    "_put_public_access_block": "PublicAccessBlockConfiguration",
}
# Functions whose document may have an empty root.
_MAY_BE_EMPTY = {
    "_put_bucket_logging",
    "_put_bucket_notification",
    "_put_bucket_versioning",
    "_put_public_access_block",
}


def _is_malformed(function: str, body: bytes) -> bool:
    """Return whether a document is not XML, has the wrong root, or has an empty root where that is not allowed."""
    try:
        root = s3.fromstring(body)
    except ParseError:
        return True
    return root.tag.rpartition("}")[2] != _DOCUMENTS[function] or (function not in _MAY_BE_EMPTY and len(root) == 0)


def _refuse_malformed(function: str) -> None:
    original = getattr(s3, function)

    def put(name: str, body: bytes, *more: Any) -> Response:
        if name in s3._buckets and _is_malformed(function, body):
            return s3._error("MalformedXML", s3._MALFORMED_XML, 400)
        return original(name, body, *more)

    setattr(s3, function, put)


for _function in _DOCUMENTS:
    _refuse_malformed(_function)
