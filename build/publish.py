"""Upload a package to its bucket: what is there already, under the hash of its content, stays."""

from typing import Any

from build.package import Package


def plan(package: Package, there: set[str]) -> list[str]:
    """The keys that an upload would add."""
    return [key for key in package.objects if key not in there]


def publish(s3: Any, package: Package) -> list[str]:
    """Upload what is missing and answer its keys."""
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=package.bucket)
    there = {found["Key"] for page in pages for found in page.get("Contents", [])}
    added = plan(package, there)
    for key in added:
        upload(s3, package, key)
    return added


def upload(s3: Any, package: Package, key: str) -> None:
    """Upload one object of a package. A tag makes Studio show a project's template when it reads it from S3."""
    tags = {"Tagging": "sagemaker:studio-visibility=true"} if key in package.projects.values() else {}
    s3.put_object(Bucket=package.bucket, Key=key, Body=package.objects[key], **tags)
