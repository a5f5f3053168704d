"""S3 for jobs: download data before a container starts and upload it afterwards, with the job's role."""

import tarfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

WORKERS = 4


class NoObjects(ValueError):
    """There are no objects under a URI that a job reads."""


def split(uri: str) -> tuple[str, str]:
    """Return the bucket and the key of an s3:// URI. Raise ValueError for anything else."""
    parts = urlsplit(uri)
    if parts.scheme != "s3" or not parts.netloc:
        raise ValueError(f"{uri!r} is not an s3:// address")
    return parts.netloc, parts.path.lstrip("/")


def download(s3: Any, uri: str, folder: Path, part: slice = slice(None)) -> int:
    """Download an object, or the objects below a prefix, into a folder; return how many there are.

    `part` selects the objects to download, in the order of their keys. Raise NoObjects if there are none, and
    ValueError for a key that leads out of the folder.
    """
    bucket, prefix = split(uri)
    folder.mkdir(parents=True, exist_ok=True)
    below = prefix.rstrip("/") + "/"
    keys = [
        found["Key"]
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        for found in page.get("Contents", [])
        if found["Key"] == prefix or found["Key"].startswith(below)
    ]

    def fetch(key: str) -> None:
        relative = key.rsplit("/", 1)[-1] if key == prefix else key.removeprefix(below)
        target = (folder / relative).resolve()
        if not relative or key.endswith("/"):
            return
        if not target.is_relative_to(folder.resolve()):
            raise ValueError(f"s3://{bucket}/{key} leads out of its folder")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(s3.get_object(Bucket=bucket, Key=key)["Body"].read())

    with ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(fetch, keys[part]))
    if not keys:
        raise NoObjects(f"No S3 objects found under S3 URL {uri!r}. Check the address and the role's permissions.")
    return len(keys)


def encryption(key: str) -> dict[str, str]:
    """Return the arguments of PutObject that encrypt with a KMS key; for an empty one, the bucket's default applies."""
    return {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": key} if key else {}


def upload(s3: Any, folder: Path, uri: str, kms_key: str = "") -> int:
    """Upload every file of a folder below a URI, encrypted with a KMS key if given; return how many."""
    bucket, prefix = split(uri)
    files = sorted(path for path in folder.rglob("*") if path.is_file())

    def store(path: Path) -> None:
        name = f"{prefix.rstrip('/')}/{path.relative_to(folder)}"
        s3.put_object(Bucket=bucket, Key=name, Body=path.read_bytes(), **encryption(kms_key))

    with ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(store, files))
    return len(files)


def upload_archive(s3: Any, folders: list[Path], uri: str, kms_key: str = "") -> None:
    """Upload the folders of a job's instances as one .tar.gz object. Raise ValueError for a file that several have.

    docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-training-algo-output.html: their names may not clash.
    """
    bucket, key = split(uri)
    archive = folders[0].parent / f"{folders[0].name}.tar.gz"
    names: set[Path] = set()
    with tarfile.open(archive, "w:gz", compresslevel=1) as tar:
        for folder in folders:
            for path in sorted(folder.rglob("*")):
                name = path.relative_to(folder)
                if name in names and not path.is_dir():
                    raise ValueError(f"several instances wrote {name}: AWS keeps one of them. Let one host write it.")
                names.add(name)
                tar.add(path, name, recursive=False)
    with archive.open("rb") as body:
        s3.put_object(Bucket=bucket, Key=key, Body=body, **encryption(kms_key))
    archive.unlink()


class CheckpointSync:
    """A thread that uploads new and changed checkpoint files while a job runs; `finish` uploads the rest."""

    EVERY_SECONDS = 2

    def __init__(self, s3: Any, folder: Path, uri: str):
        self.s3, self.folder, self.uri = s3, folder, uri
        self.seen: dict[Path, tuple[int, int]] = {}
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self) -> None:
        while not self.ended.wait(self.EVERY_SECONDS):
            self.copy()

    def copy(self) -> None:
        bucket, prefix = split(self.uri)
        for path in sorted(path for path in self.folder.rglob("*") if path.is_file()):
            try:
                state = (path.stat().st_mtime_ns, path.stat().st_size)
                if self.seen.get(path) != state:
                    key = f"{prefix.rstrip('/')}/{path.relative_to(self.folder)}"
                    self.s3.put_object(Bucket=bucket, Key=key, Body=path.read_bytes())
                    self.seen[path] = state
            except FileNotFoundError:
                continue  # replaced by the job between the listing and the copy

    def finish(self) -> None:
        self.ended.set()
        self.thread.join()
        self.copy()
