"""Upload a package to its bucket. Keys contain a hash of the content, so objects that exist are not uploaded again."""

from typing import Any

from build.account import listed
from build.package import Package


def plan(package: Package, there: set[str]) -> list[str]:
    """Return the keys that an upload would add to those that are there."""
    return [key for key in package.objects if key not in there]


def publish(s3: Any, package: Package) -> list[str]:
    """Upload the objects that are missing in the bucket; return their keys."""
    there = {found["Key"] for found in listed(s3, "list_objects_v2", "Contents", Bucket=package.bucket)}
    added = plan(package, there)
    for key in added:
        upload(s3, package, key)
    return added


def upload(s3: Any, package: Package, key: str) -> None:
    """Upload one object of a package. Project templates get the tag without which Studio does not list those in S3."""
    tags = {"Tagging": "sagemaker:studio-visibility=true"} if key in package.projects.values() else {}
    s3.put_object(Bucket=package.bucket, Key=key, Body=package.objects[key], **tags)
