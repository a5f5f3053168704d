"""S3: keep the bodies of large objects in files instead of the emulator's memory."""

import uuid
import weakref
from pathlib import Path
from typing import Any, Self

from ministack.services import s3

SMALL = 64 * 1024  # bytes; bodies up to this size stay in memory


class StoredBody:
    """A body in a file, which is deleted with the last record (of an object or a version) that refers to it."""

    def __init__(self, folder: Path, data: bytes):
        self.path = folder / uuid.uuid4().hex
        weakref.finalize(self, self.path.unlink, missing_ok=True)
        self.path.write_bytes(data)

    def read(self) -> bytes:
        """Return the body."""
        return self.path.read_bytes()

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Return self: copies of a record share the file."""
        return self


def keep_bodies_in(folder: Path) -> None:
    """Keep every body larger than SMALL in a file of `folder`, which is created."""
    folder.mkdir(parents=True)

    def record_version(bucket: str, key: str, prior: dict[str, Any] | None, record: dict[str, Any], data: bytes) -> Any:
        if len(data) > SMALL:
            record["stored"] = StoredBody(folder, data)
            record["body"] = None
        return original_record(bucket, key, prior, record, data)

    original_record = s3._record_object_version
    s3._record_object_version = record_version  # every write of an object calls it


def _version_of(record: dict[str, Any], version: str, data: bytes) -> dict[str, Any]:
    stored = record.get("stored")
    return _original_version(record, version, None if stored else data) | {"stored": stored}


def _record_of(version: dict[str, Any]) -> dict[str, Any]:
    return _original_record_of(version) | {"stored": version.get("stored")}


def _version_body(bucket: dict[str, Any], name: str, key: str, version: dict[str, Any]) -> bytes | None:
    stored = version.get("stored")
    return stored.read() if stored else _original_version_body(bucket, name, key, version)


def _read_body(bucket: str, key: str, record: dict[str, Any]) -> bytes:
    stored = record.get("stored")
    return stored.read() if stored else _original_read(bucket, key, record)


def _delete_version(bucket: dict[str, Any], name: str, key: str, version: str) -> tuple[bool, bool]:
    """Delete a version, and drop the body of the one that is now current, which ministack reads into memory."""
    result = _original_delete(bucket, name, key, version)
    newest = bucket["objects"].get(key, {})
    if newest.get("stored"):
        newest["body"] = None
    return result


_original_version, _original_record_of = s3._version_entry_from_record, s3._object_record_from_version
s3._version_entry_from_record, s3._object_record_from_version = _version_of, _record_of
_original_version_body, _original_read = s3._version_body, s3._read_body
s3._version_body, s3._read_body = _version_body, _read_body
_original_delete = s3._delete_object_version
s3._delete_object_version = _delete_version
