"""S3: the bodies of objects are in files, and not in the emulator's memory."""

import uuid
import weakref
from pathlib import Path
from typing import Any, Self

from ministack.services import s3

SMALL = 64 * 1024  # what is no larger stays in memory


class StoredBody:
    """A body in a file, which goes with the last record that has it: of an object, or of one of its versions."""

    def __init__(self, folder: Path, data: bytes):
        self.path = folder / uuid.uuid4().hex
        weakref.finalize(self, self.path.unlink, missing_ok=True)
        self.path.write_bytes(data)

    def read(self) -> bytes:
        """Return the body."""
        return self.path.read_bytes()

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Return itself: copies of a record have one file."""
        return self


def keep_bodies_in(folder: Path) -> None:
    """Keep every body that is not small in a file of a new folder."""
    folder.mkdir(parents=True)

    def record_version(bucket: str, key: str, prior: dict[str, Any] | None, record: dict[str, Any], data: bytes) -> Any:
        if len(data) > SMALL:
            record["stored"] = StoredBody(folder, data)
            record["body"] = None
        return original_record(bucket, key, prior, record, data)

    original_record = s3._record_object_version
    s3._record_object_version = record_version  # every write of an object comes past it


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
    """Delete a version; ministack takes the body of the one that is the newest now into memory."""
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
