"""Find pictures: in class folders and zips of them, in manifests, and in IDX files."""

import gzip
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import chain, islice
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from spotkit.data import tables
from spotkit.data.examples import Example, NothingToRead, Skipped, Unreadable, given_split
from spotkit.jobs import job

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".pgm", ".ppm", ".pnm")
MAX_BYTES = 100 * 2**20  # of one image file
MAX_SIDE = 4096  # pixels, of an image in an IDX file
MANIFESTS = {".csv": ".csv", ".tsv": ".tsv", ".manifest": ".jsonl", ".jsonl": ".jsonl"}  # suffix -> kind of table
ROWS_TO_FIND_ROOT = 200  # of a manifest: enough to find the prefix of its paths, see `prefix_of`


@dataclass(frozen=True)
class Picture:
    """An image that is read when it is needed: a file, a member of a zip archive, or grey values from an IDX file."""

    path: Path
    member: str = ""
    values: np.ndarray | None = None

    def read(self) -> bytes:
        if self.values is not None:
            return self.values.tobytes()
        return archive(self.path).read(self.member) if self.member else self.path.read_bytes()


@lru_cache(maxsize=16)
def archive(path: Path) -> zipfile.ZipFile:
    """Return an open zip archive; each one is opened once, and its members are read without unpacking it.

    Raise ValueError if it cannot be read.
    """
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as error:
        raise ValueError(f"{path.name} is not a zip archive that can be read: {error}. Create it again.") from error


def read(data: Path, settings: dict[str, Any]) -> Iterator[Example | Unreadable | Skipped]:
    """Yield the images of manifests, else of IDX files, else of class folders and zips of class folders.

    Raise ValueError if a setting or a file is invalid, and NothingToRead if there is no image.
    """
    manifests = manifests_in(data)
    idx = sorted(path for path in data.rglob("*images*idx3*") if path.is_file())
    if (manifests or idx) and len(job.hosts()[0]) > 1:
        raise ValueError(
            f"{(manifests or idx)[0].name} belongs with other files, and several instances each get some of them. "
            "Set [compute] processing_instance_count to 1, or give one folder a class."
        )
    for name in ("split", "group"):
        if settings["data"][name] and not manifests:
            raise ValueError(
                f"[data] {name} names a column, {settings['data'][name]!r}, and the pictures are listed in no manifest. "
                "Leave it empty, or add a manifest with that column."
            )
    listed: set[Path] = set()
    if manifests:
        found = (entry for path in manifests for entry in in_manifest(path, settings, listed))
    elif idx:
        found = (entry for path in idx for entry in in_idx(path))
    else:
        found = in_folders(data)
    empty = True
    for entry in found:
        empty = empty and isinstance(entry, Skipped)
        yield entry
    if empty:
        raise NothingToRead(
            f"no picture ({', '.join(SUFFIXES)}) in a class folder of {data.name}. Put one folder a class there."
        )
    if manifests or idx:
        yield from not_listed(data, listed, "not in the manifest" if manifests else "beside IDX files")


def manifests_in(data: Path) -> list[Path]:
    """Return the manifests in a folder, or `data` itself if it is a manifest."""
    if data.is_file():
        return [data] if data.suffix.lower() in MANIFESTS else []
    return sorted(path for path in data.glob("*") if path.suffix.lower() in MANIFESTS and not path.name.startswith("."))


def not_listed(data: Path, listed: set[Path], why: str) -> Iterator[Skipped]:
    """Yield the images in a folder that no manifest lists and no IDX file holds."""
    for path in sorted(data.rglob("*")) if data.is_dir() else ():
        if path.suffix.lower() in SUFFIXES and path not in listed and not tables.is_hidden(path.relative_to(data)):
            yield Skipped(tables.shown(path.relative_to(data)), f"pictures {why}")


def in_folders(data: Path) -> Iterator[Example | Unreadable | Skipped]:
    """Yield the images of class folders and of zips of class folders, sorted by name."""
    parents: dict[str, PurePosixPath] = {}
    # Broken links are not files, but `problem_of` has to report them.
    found = [data] if data.is_file() else sorted(p for p in data.rglob("*") if p.is_file() or p.is_symlink())
    for path in found:
        name = PurePosixPath(tables.shown(path.relative_to(data) if path != data else Path(path.name)))
        if path.suffix.lower() == ".zip":
            for member, problem in members(path):
                picture = Picture(path, str(member))
                yield example_at(name / member, name.with_name(name.stem) / member, picture, problem, parents)
        elif len(name.parts) > 1 or name.suffix.lower() in SUFFIXES:
            yield example_at(name, name, Picture(path), problem_of(path, data), parents)


def example_at(
    place: PurePosixPath, inside: PurePosixPath, picture: Picture, problem: str, parents: dict[str, PurePosixPath]
) -> Example | Unreadable | Skipped:
    """Return the example of a file in a class folder; folders named train, validation or test are splits, not classes.

    `place` is the file's path in messages; `inside` is the same path, with an archive as the folder of its name.
    `parents` maps each class to the path above its first folder; it is updated here.
    """
    if tables.is_hidden(place):
        return Skipped(str(place), "hidden files")
    if problem:
        return Unreadable(str(place), problem)
    outer = len(inside.parts) - len(PurePosixPath(picture.member).parts) if picture.member else 0
    folders = [name for name in inside.parts[outer:-1] if not given_split(name)]  # an archive's own name is not a class
    labels, note = folders[-1:], ""
    above = PurePosixPath(*folders[:-1])
    if not labels:
        return Skipped(str(place), "pictures in no class folder")
    if parents.setdefault(labels[0], above) != above:
        note = "in class folders of one name at several places"
    return Example("", labels, str(place), picture, note, given_split(*inside.parts[:-1]))


def members(path: Path) -> Iterator[tuple[PurePosixPath, str]]:
    """Yield an archive's images and the files in its folders, sorted by name, each with its problem ("" for none)."""
    seen: set[str] = set()
    for entry in sorted(archive(path).infolist(), key=lambda entry: entry.filename):
        name = PurePosixPath(entry.filename)
        if entry.is_dir() or (len(name.parts) < 2 and name.suffix.lower() not in SUFFIXES):
            continue
        problem = "" if name.suffix.lower() in SUFFIXES else f"not one of {', '.join(SUFFIXES)}"
        if entry.file_size > MAX_BYTES:
            problem = f"larger than {MAX_BYTES:,} bytes"
        if entry.filename in seen:
            problem = "a second file of this name"
        seen.add(entry.filename)
        yield name, problem


def problem_of(path: Path, data: Path) -> str:
    """Return what is wrong with a file, as far as this is visible without decoding it; "" for nothing."""
    if not path.resolve().is_relative_to(data.resolve()):
        return "a link that leads out of the data folder"
    if path.suffix.lower() not in SUFFIXES:
        return f"not one of {', '.join(SUFFIXES)}"
    if not path.is_file():
        return "a link that leads nowhere"
    return f"larger than {MAX_BYTES:,} bytes" if path.stat().st_size > MAX_BYTES else ""


def in_manifest(path: Path, settings: dict[str, Any], listed: set[Path]) -> Iterator[Example | Unreadable | Skipped]:
    """Yield the images that a CSV file or an augmented manifest lists, by relative path or by original S3 URI.

    Raise ValueError if [task] pictures is not a folder beside the manifest.
    https://docs.aws.amazon.com/sagemaker/latest/dg/augmented-manifest.html
    """
    image, data = settings["task"]["image"], settings["data"]
    needed = tables.columns_needed({image: "[task] image"}, data)
    root = path.parent / settings["task"]["pictures"]
    if not root.is_dir() or not root.resolve().is_relative_to(path.parent.resolve()):
        raise ValueError(
            f"[task] pictures is {settings['task']['pictures']!r}, which is no folder beside {path.name}. "
            "Name the folder below which the manifest's paths lie; empty: its own."
        )
    table = tables.Table(path.name, MANIFESTS[path.suffix.lower()], lambda: path.open("rb"))
    rows = tables.rows(table, needed, data["columns"])
    # The paths may be those that the data had elsewhere: find their prefix from the first rows.
    first = list(islice(rows, ROWS_TO_FIND_ROOT))
    references = [str(row.content.get(image)) for row in first if isinstance(row.content, dict)]
    prefix = prefix_of(references, root)
    for row in chain(first, rows):
        if not isinstance(row.content, dict):
            yield row.content
            continue
        reference = str(row.content.get(image) or "")
        listed.add(file := file_of(reference, prefix, root))
        try:
            found = example_in_manifest(row.where, reference, manifest_labels(row.content, data), file, root)
            if isinstance(found, Example):
                split, group = tables.place_of(row.content, data, found.split)
                found = replace(found, split=split, group=group)
            yield found
        except tables.NoText as error:
            yield Unreadable(row.where, str(error))


def example_in_manifest(where: str, reference: str, labels: list[str], file: Path, root: Path) -> Example | Unreadable:
    """Return the example of a manifest's row, whose path or S3 URI is that of a file below `root`, or why it has none."""
    if not all(map(tables.is_utf8, (reference, *labels))):
        return Unreadable(where, tables.NOT_UTF8)
    if "\0" in reference or not file.is_file():
        return Unreadable(where, f"{reference[:200]} is not in the data")
    if problem := problem_of(file, root):
        return Unreadable(where, problem)
    return Example("", labels, where, Picture(file), split=given_split(*parts_of(reference)[:-1]))


def file_of(reference: str, prefix: tuple[str, ...], root: Path) -> Path:
    """Return the file below `root` that a reference names after `prefix`; `root` itself if its prefix is another."""
    parts = parts_of(reference)
    return root.joinpath(*parts[len(prefix) :]) if parts[: len(prefix)] == prefix else root


def parts_of(reference: str) -> tuple[str, ...]:
    """Split a path or an s3:// URI into its folders and its file name, without "/", "." and ".."."""
    parts = PurePosixPath(reference.removeprefix("s3://")).parts
    return tuple(part for part in parts if part not in ("..", "/", "."))


def prefix_of(references: list[str], root: Path) -> tuple[str, ...]:
    """Return the parts that most of the references have in front of their path below `root`.

    Each tail of a reference that is a file below `root` counts for the prefix before it; of equal counts, the shortest
    prefix wins.
    """
    found: Counter[tuple[str, ...]] = Counter()
    for parts in map(parts_of, (reference for reference in references if "\0" not in reference)):
        found.update(parts[:start] for start in range(len(parts)) if root.joinpath(*parts[start:]).is_file())
    return min(found, key=lambda prefix: (-found[prefix], len(prefix)), default=())


def manifest_labels(row: dict[str, Any], data: dict[str, Any]) -> list[str]:
    """Return the class names in a manifest's row. Raise NoText if it has no valid label.

    Ground Truth writes class numbers, and puts their names into `<label>-metadata`.
    """
    label = data["label"]
    metadata = row.get(f"{label}-metadata") if isinstance(label, str) else None
    if isinstance(metadata, dict):
        if "failure-reason" in metadata:
            raise tables.NoText(f"it was not labelled: {metadata['failure-reason']}")
        if "class-map" in metadata:
            given = row.get(label)
            names, numbers = metadata["class-map"], given if isinstance(given, list) else [given]
            if not isinstance(names, dict) or any(str(number) not in names for number in numbers):
                raise tables.NoText(f"{label}-metadata has no name for {given!r} in its class-map")
            return [str(names[str(number)]) for number in numbers]
        if "class-name" in metadata:
            return [str(metadata["class-name"])]
    return tables.labels_of(row, label, data["problem"] == "multi_label")


def in_idx(path: Path) -> Iterator[Example]:
    """Yield the images of an IDX file with the labels of the file beside it (the format of MNIST, LeCun et al.).

    Raise ValueError if a file is missing, incomplete or not an IDX file.
    """
    beside = path.with_name(path.name.replace("images", "labels").replace("idx3", "idx1"))
    if not beside.is_file():
        raise ValueError(f"{path.name} has no labels: {beside.name} is not there. Put it beside it.")
    try:
        with open_idx(path) as images, open_idx(beside) as labels:
            magic, count, height, width = struct.unpack(">4i", images.read(16))
            labels_magic, labels_count = struct.unpack(">2i", labels.read(8))
            # Magic numbers: unsigned bytes (0x08) in 3 dimensions (images) and in 1 dimension (labels).
            if (magic, labels_magic, labels_count) != (2051, 2049, count):
                raise ValueError(f"{path.name} and {beside.name} are not IDX files of equal length. Get them anew.")
            if not (0 < height <= MAX_SIDE and 0 < width <= MAX_SIDE):
                raise ValueError(f"{path.name} says its pictures have {height} x {width} pixels. Download it again.")
            for number in range(count):
                values, label = images.read(height * width), labels.read(1)
                if len(values) < height * width or not label:
                    raise ValueError(f"{path.name} ends after {number} of {count} pictures. Download it again.")
                picture = Picture(path, values=np.frombuffer(values, dtype=np.uint8).reshape(height, width))
                yield Example("", [str(label[0])], f"{path.name}, picture {number}", picture)
    except (OSError, EOFError, struct.error, zlib.error) as error:
        raise ValueError(f"{path.name} is not an IDX file that can be read: {error}. Download it again.") from error


def open_idx(path: Path) -> Any:
    """Open an IDX file, compressed or not."""
    return gzip.open(path) if path.suffix == ".gz" else path.open("rb")
