"""Image classification: read, prepare, batch, classify and serve images.

Edit this file and settings.toml to use your own data and your own model. preprocess.py calls the functions; train.py,
evaluate.py and inference.py use `Classifier`, and inference.py also `decode`.
"""

import base64
import binascii
import gzip
import hashlib
import io
import json
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import chain, islice
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageColor, ImageOps, UnidentifiedImageError
from safetensors.torch import load_file, save_file
from torch.nn import functional
from torchvision import models
from torchvision.models.vision_transformer import interpolate_embeddings

from spotkit.data import tables
from spotkit.data.examples import Example, NothingToRead, Prepared, Skipped, Unreadable, given_split
from spotkit.jobs import job
from spotkit.serving import media

SETTINGS = {
    "image": str,
    "pictures": str,
    "background": str,
    "fit": str,
    "size": int,
    "stored_size": int,
    "random_zoom": float,
    "random_flip": bool,
}
NOUN = "pictures"  # what reports call the examples
SIZE = "pixels on the longer side"  # what reports call the size that `prepare` returns
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM")  # of several images in one file, the first
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".pgm", ".ppm", ".pnm")
MEDIA = (
    "image/jpeg", "image/jpg", "image/png", "image/webp", "image/bmp", "image/tiff", "image/gif",
    "image/x-portable-graymap", "image/x-portable-pixmap", "image/x-portable-anymap", "application/x-image",
)  # fmt: skip
FORM = 'the request is not {"inputs": "a picture in base64"} or a list of such'
MAX_BYTES = 100 * 2**20  # of one image file
MAX_PIXELS = 100_000_000  # of one image: more is a decompression bomb, or a map
MAX_SIDE = 4096  # pixels, of an image in an IDX file
MIN_PIXELS = 4  # on the shorter side
FITS = ("crop", "pad", "squash")
NEARLY = 8  # of 255 levels: smaller differences are invisible
THUMBNAIL = 16  # side in pixels of the thumbnails that lookalikes.py compares
GREY_BITS = (8, 10, 12, 16)  # bit depths of cameras and scanners, which store them in 16 bits
MANIFESTS = {".csv": ".csv", ".tsv": ".tsv", ".manifest": ".jsonl", ".jsonl": ".jsonl"}  # suffix -> kind of table
ROWS_TO_FIND_ROOT = 200  # of a manifest: enough to find the prefix of its paths, see `prefix_of`
BROKEN_ARCHIVE = (OSError, *tables.BROKEN_ARCHIVE)
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


# --- reading ---------------------------------------------------------------------------------------------------------


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
    task = settings["task"]
    if not 0 < task["size"] <= task["stored_size"]:
        raise ValueError(
            f"[task] size is {task['size']}. It must be between 1 and stored_size ({task['stored_size']})."
        )
    if not 0 <= task["random_zoom"] < 1:
        raise ValueError(f"[task] random_zoom is {task['random_zoom']}. It must be at least 0 and less than 1.")
    background_of(task)
    if task["fit"] not in FITS:
        raise ValueError(f"[task] fit is {task['fit']!r}. Choose: {', '.join(FITS)}.")
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


# --- preparing -------------------------------------------------------------------------------------------------------


def identify(example: Example, settings: dict[str, Any]) -> Example | Unreadable:
    """Return the example with its key, a hash of its pixels: equal images have equal keys in any file format.

    For 16-bit greys, also set `measure` to the greatest value: see `learned`.
    """
    try:
        with opened(example.content) as image:
            deep = greys_of(image)
            if deep is not None:
                key = hashlib.sha256(deep.tobytes()).hexdigest()
                return replace(example, key=key, measure=int(deep.max()))
            pixels = fitted(image, settings)
    except (ValueError, *BROKEN_ARCHIVE) as error:
        return Unreadable(example.where, str(error))
    return replace(example, key=hashlib.sha256(pixels.tobytes()).hexdigest())


def learned(greatest: int) -> dict[str, Any]:
    """Return the bit depth of the training split's 16-bit greys as {"grey_bits": ...}; {} if it has none.

    `greatest` is the greatest grey value. Preprocessing and serving scale 16-bit greys to 8 bits by this depth.
    """
    return {"grey_bits": next(bits for bits in GREY_BITS if greatest < 2**bits)} if greatest else {}


def prepare(example: Example, settings: dict[str, Any]) -> tuple[dict[str, bytes], int] | Unreadable:
    """Return the row of an image, stored_size x stored_size x 3 bytes, and its longer side in pixels before scaling."""
    try:
        pixels, longer_side = to_pixels(example.content, settings)
    except (ValueError, *BROKEN_ARCHIVE) as error:
        return Unreadable(example.where, str(error))
    return {"image": pixels.tobytes()}, longer_side


def to_pixels(content: bytes | Picture, settings: dict[str, Any]) -> tuple[np.ndarray, int]:
    """Decode an image to RGB, rotate it as EXIF says, and fit it: uint8 (stored_size, stored_size, 3).

    Training, evaluation and serving all use this transform. Transparent pixels show [task] background; 16-bit greys are
    scaled to 8 bits by the bit depth of the training split. Return the pixels and the original longer side in pixels.
    Raise ValueError if the image cannot be decoded.
    """
    with opened(content) as image:
        longer_side = max(image.size)
        deep = greys_of(image)
        if deep is not None:
            shift = settings.get("grey_bits", GREY_BITS[-1]) - 8
            image = Image.fromarray(np.minimum(deep >> shift, 255).astype(np.uint8))
        return fitted(image, settings), longer_side


@contextmanager
def opened(content: bytes | Picture) -> Iterator[Image.Image]:
    """Yield an open image, which is decoded when its pixels are used.

    Raise ValueError if it cannot be decoded, also inside the `with` block, or if it is too large or too small.
    """
    if isinstance(content, Picture):
        content = content.values if content.values is not None else content.read()
    try:
        with open_image(content) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ValueError(f"{image.width} x {image.height} pixels, more than {MAX_PIXELS:,}")
            if image.mode == "F":
                raise ValueError("32-bit floats have no defined range; save it with 8 or 16 bits")
            if min(image.size) < MIN_PIXELS:
                raise ValueError(f"{image.width} x {image.height} pixels, less than {MIN_PIXELS} on a side")
            yield image
    except UnidentifiedImageError as error:
        raise ValueError("not a picture that can be decoded") from error
    except (OSError, SyntaxError, EOFError, IndexError, struct.error, Image.DecompressionBombError) as error:
        raise ValueError(f"not a picture that can be decoded: {error}") from error


def greys_of(image: Image.Image) -> np.ndarray | None:
    """Return the pixels of a 16-bit grey image, rotated as EXIF says: uint16 (height, width); None for other images."""
    if not image.mode.startswith("I"):
        return None
    return np.clip(np.asarray(ImageOps.exif_transpose(image)), 0, 2**16 - 1).astype(np.uint16)


def fitted(image: Image.Image, settings: dict[str, Any]) -> np.ndarray:
    """Rotate an image as EXIF says, put it on [task] background, and make it square as [task] fit says.

    Return uint8 (stored_size, stored_size, 3).
    """
    size, background = settings["stored_size"], background_of(settings)
    image.draft(None, (2 * size, 2 * size))  # decode a large JPEG at a reduced size, never below this one
    upright = ImageOps.exif_transpose(image)
    if upright.has_transparency_data:
        upright = upright.convert("RGBA")
        upright = Image.alpha_composite(Image.new("RGBA", upright.size, (*background, 255)), upright)
    upright, fit = upright.convert("RGB"), settings.get("fit", FITS[0])
    if fit == "pad":
        return np.asarray(ImageOps.pad(upright, (size, size), Image.Resampling.BILINEAR, background))
    if fit == "squash":
        return np.asarray(upright.resize((size, size), Image.Resampling.BILINEAR))
    return np.asarray(ImageOps.fit(upright, (size, size), Image.Resampling.BILINEAR))


def background_of(settings: dict[str, Any]) -> tuple[int, int, int]:
    """Return [task] background as red, green and blue, 0 to 255. Raise ValueError if it is not a colour.

    Models saved before this was a setting were trained on black.
    """
    name = settings.get("background", "black")
    try:
        red, green, blue = ImageColor.getrgb(name)[:3]
    except ValueError as error:
        raise ValueError(f'[task] background is {name!r}. Give a colour, as "white" or "#ffffff".') from error
    return red, green, blue


def open_image(content: bytes | np.ndarray) -> Image.Image:
    """Open the bytes of an image file, or make an image of grey values (height, width)."""
    if isinstance(content, np.ndarray):
        return Image.fromarray(content)
    return Image.open(io.BytesIO(content), formats=FORMATS)


def note_of(row: dict[str, Any]) -> str:
    """Return a warning about a prepared image that shows next to nothing; "" for other images."""
    pixels = np.frombuffer(row["image"], dtype=np.uint8)
    flat = int(pixels.max()) - int(pixels.min()) < NEARLY
    return ("nearly black" if pixels.max() < NEARLY else "of one colour") if flat else ""


def thumbnail_of(row: dict[str, Any], settings: dict[str, Any]) -> np.ndarray:
    """Return a grey thumbnail, by which lookalikes.py finds similar images: uint8 (THUMBNAIL, THUMBNAIL)."""
    size = settings["stored_size"]
    image = Image.frombytes("RGB", (size, size), row["image"]).convert("L")
    return np.asarray(image.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX))


def show(row: dict[str, Any], settings: dict[str, Any]) -> dict[str, bytes]:
    """Return what a report shows of a row: a PNG of 96 x 96 pixels."""
    size = settings["stored_size"]
    content = io.BytesIO()
    image = Image.fromarray(np.frombuffer(row["image"], dtype=np.uint8).reshape(size, size, 3))
    image.resize((96, 96), Image.Resampling.BILINEAR).save(content, "PNG")
    return {"png": content.getvalue()}


def decode(body: bytes, content_type: str) -> list[dict[str, bytes]]:
    """Return the rows of a request, one per image. Raise ValueError if its content type or its body is invalid."""
    kind, charset = media.parse(content_type)
    if kind in MEDIA:
        return [{"file": body}]
    if kind in (media.ONE, media.LINES):
        return media.rows_made(body, (kind, charset), row_of, FORM)
    raise ValueError(
        f"content type {kind} is not served. Send image/jpeg, image/png, application/json or application/jsonlines."
    )


def row_of(item: Any) -> dict[str, bytes]:
    """Return the row of one JSON value: an image in base64, which may have line breaks or be a data: URL.

    Raise ValueError for anything else.
    """
    if not isinstance(item, str):
        raise ValueError(f"{media.shown(item)} is not a string; {FORM}")
    content = item.partition(",")[2] if item.startswith("data:") else item
    try:
        return {"file": base64.b64decode("".join(content.split()), validate=True)}
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"a picture of the request is not base64: {error}") from error


# --- batches ---------------------------------------------------------------------------------------------------------


class Pictures:
    """Prepared images in memory-mapped chunks: uint8 (rows, stored_size * stored_size * 3) each.

    Image i is row order[i] of the concatenated chunks; `owner` maps each image to its example, here itself.
    """

    lengths = None  # all images have one size: no length-grouped batching

    def __init__(self, chunks: list[np.ndarray], order: np.ndarray, stored_size: int):
        self.chunks, self.stored_size = chunks, stored_size
        self.starts = np.cumsum([0] + [len(chunk) for chunk in chunks])  # first row of each chunk
        self.order = order
        self.owner = np.arange(len(order))

    def __len__(self) -> int:
        return len(self.order)

    def batch(self, items: np.ndarray) -> dict[str, torch.Tensor]:
        """Return the images with these indices as they are stored: uint8 (batch, stored_size, stored_size, 3)."""
        images = np.empty((len(items), self.chunks[0].shape[1]), dtype=np.uint8)
        rows = self.order[items]
        places = np.searchsorted(self.starts, rows, side="right") - 1  # chunk of each row
        for image, place, row in zip(images, places, rows, strict=True):
            image[:] = self.chunks[place][row - self.starts[place]]
        return {"images": torch.from_numpy(images).view(len(items), self.stored_size, self.stored_size, 3)}


class Network(torch.nn.Module):
    """A torchvision backbone for uint8 images (batch, size, size, 3); normalisation is part of the model.

    Training, evaluation and serving therefore normalise alike.
    """

    def __init__(self, backbone: torch.nn.Module):
        super().__init__()
        self.backbone = backbone
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN) * 255, persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD) * 255, persistent=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        width = images.shape[2]
        rows = images.flatten(2).float()  # (batch, height, width * 3): in place on long rows is several times as fast
        rows.sub_(self.mean.repeat(width)).div_(self.std.repeat(width))
        return self.backbone(rows.unflatten(2, (width, 3)).permute(0, 3, 1, 2))  # (batch, 3, height, width)


class Classifier:
    """A torchvision model with its metadata: what is trained, saved and served."""

    num_draws = 4  # draws per image that `augment` takes
    sgd = 0.0  # 0: trained with AdamW

    def __init__(self, model: Network, facts: dict[str, Any]):
        self.model = model
        self.facts = facts
        self.problem: str = facts["problem"]
        self.labels: list[str] = facts["labels"]

    @classmethod
    def create(cls, settings: dict[str, Any], train: Prepared, pretrained: Path | None) -> "Classifier":
        """Build the backbone that [model] names, with random weights, hub weights, or those of the folder `pretrained`.

        `train` gives the problem, the classes, and the bit depth of 16-bit greys.
        """
        chosen = settings["model"]
        bits = {name: train.facts[name] for name in ("grey_bits",) if name in train.facts}
        facts = {"problem": train.problem, "labels": train.labels, "task": settings["task"] | bits, "model": chosen}
        backbone = build(chosen, len(train.labels), settings["task"]["size"])
        if chosen["weights"] != "scratch":
            load_pretrained(backbone, chosen["name"], pretrained)
        return cls(Network(backbone), facts)

    def items(self, prepared: Prepared, scratch: Path) -> Pictures:
        """Return a split's images; unlike texts, they need no further preparation, so `scratch` stays empty."""
        return Pictures(prepared.pixels("image"), prepared.order, self.facts["task"]["stored_size"])

    mapped_items = items

    def items_of_request(self, rows: list[dict[str, Any]]) -> Pictures:
        """Decode the images of a request as preprocessing does. Raise ValueError for an invalid one."""
        task = self.facts["task"]
        pixels = np.stack(media.one_by_one(rows, lambda row: to_pixels(row["file"], task)[0].reshape(-1)))
        return Pictures([pixels], np.arange(len(rows)), task["stored_size"])

    def augment(self, batch: dict[str, torch.Tensor], random: torch.Tensor) -> dict[str, torch.Tensor]:
        """Crop a random square out of each image, and mirror half of them with random_flip: (batch, size, size, 3).

        `random` (batch, 4), in 0..1, gives scale, left, top and mirroring of each. With random_zoom = 0 the side of the
        squares is `size`, as in evaluation; otherwise it varies from (1 - random_zoom) * size to stored_size. Runs on
        the device of the images.
        """
        images, task = batch["images"], self.facts["task"]
        stored, size, zoom = task["stored_size"], task["size"], task["random_zoom"]
        scale, across, down, mirror = random.T  # (batch,) each
        least = size * (1 - zoom)
        sides = (least + scale * (stored - least)).round().clamp(min=1) if zoom else torch.full_like(scale, size)
        # Sides, lefts and tops: (3, batch).
        squares = torch.stack([sides, (across * (stored - sides + 1)).floor(), (down * (stored - sides + 1)).floor()])
        mirrored = mirror < 0.5 if task["random_flip"] else torch.zeros_like(mirror, dtype=torch.bool)
        cut = cut_one_by_one if images.device.type == "cpu" else cut_together
        return {"images": cut(images, squares, mirrored, size)}

    def last_layer(self) -> torch.nn.Module:
        """Return the layer that [model] freeze trains: the last one, whose outputs are the classes."""
        layers = [part for part in self.model.modules() if isinstance(part, torch.nn.Linear | torch.nn.Conv2d)]
        return layers[-1]

    def logits(self, model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return logits (batch, classes) of the centre crops; `model` is self.model, or its compiled or DDP wrapper."""
        size = self.facts["task"]["size"]
        margin = (batch["images"].shape[1] - size) // 2
        return model(batch["images"][:, margin : margin + size, margin : margin + size])

    def save(self, folder: Path) -> None:
        """Write the weights (safetensors) and the metadata."""
        save_file(self.model.backbone.state_dict(), folder / "model.safetensors")
        (folder / "facts.json").write_text(json.dumps(self.facts, indent=2))

    @classmethod
    def load(cls, folder: Path) -> "Classifier":
        """Load what `save` wrote."""
        facts = json.loads((folder / "facts.json").read_text())
        backbone = build(facts["model"], len(facts["labels"]), facts["task"]["size"])
        backbone.load_state_dict(load_file(folder / "model.safetensors"))
        return cls(Network(backbone), facts)


def cut_one_by_one(images: torch.Tensor, squares: torch.Tensor, mirrored: torch.Tensor, size: int) -> torch.Tensor:
    """Crop, scale and mirror uint8 images (batch, height, width, 3): uint8 (batch, size, size, 3).

    `squares` (3, batch) holds sides, lefts and tops. For the CPU: an image that needs no scaling is only copied, and
    bytes are scaled without conversion to floats.
    """
    cut = torch.empty((len(images), size, size, 3), dtype=torch.uint8)
    for target, image, (side, x, y), mirror in zip(
        cut, images, squares.T.int().tolist(), mirrored.tolist(), strict=True
    ):
        square = image[y : y + side, x : x + side]
        if side != size:
            # With channels_last, PyTorch takes its fast path on the CPU, and the result needs no reordering.
            planes = square.permute(2, 0, 1)[None].contiguous(memory_format=torch.channels_last)
            scaled = functional.interpolate(planes, (size, size), mode="bilinear", antialias=True)
            square = scaled[0].permute(1, 2, 0)
        target.copy_(square.flip(1) if mirror else square)
    return cut


def cut_together(images: torch.Tensor, squares: torch.Tensor, mirrored: torch.Tensor, size: int) -> torch.Tensor:
    """Do the same as `cut_one_by_one`, up to rounding, for the batch at once: a GPU would idle between single images.

    Cropping and scaling are linear along each axis: each is a product with a matrix that has few non-zero elements.
    """
    sides, lefts, tops = squares.float().to(images.device)  # (batch,) each
    _, height, width, _ = images.shape
    down = scaling(tops, sides, height, size)  # (batch, size, height)
    across = scaling(lefts, sides, width, size)  # (batch, size, width)
    across = torch.where(mirrored.to(images.device)[:, None, None], across.flip(1), across)
    rows = down @ images.float().flatten(2)  # (batch, size, width * 3)
    cut = torch.einsum("nxw,nywc->nyxc", across, rows.unflatten(2, (width, 3)))
    return cut.round().to(torch.uint8)


def scaling(starts: torch.Tensor, sides: torch.Tensor, length: int, size: int) -> torch.Tensor:
    """Return matrices (batch, size, length) that scale `sides` pixels from `starts` on to `size` pixels.

    Bilinear with antialiasing: each output pixel is a weighted mean of input pixels. The weights fall off linearly to 0
    at the distance between two output pixels, or at one input pixel if that is more.
    """
    scale = (sides / size)[:, None, None]  # input pixels per output pixel: (batch, 1, 1)
    pixels = torch.arange(length, device=starts.device) + 0.5 - starts[:, None, None]  # in the crop: (batch, 1, length)
    centres = (torch.arange(size, device=starts.device)[:, None] + 0.5) * scale  # (batch, size, 1)
    weights = (1 - (pixels - centres).abs() / scale.clamp(min=1)).clamp(min=0)  # (batch, size, length)
    weights = weights * ((pixels > 0) & (pixels < sides[:, None, None]))  # nothing outside of the crop
    return weights / weights.sum(-1, keepdim=True)


def build(chosen: dict[str, Any], classes: int, size: int) -> torch.nn.Module:
    """Return the torchvision classification model that [model] names, with random weights.

    Raise ValueError if there is none of that name, or if it does not take images of this size.
    """
    if chosen["name"] not in models.list_models(module=models):
        raise ValueError(f"[model] name is {chosen['name']!r}, which torchvision does not have. Try resnet18.")
    options = dict(chosen["config"])
    if chosen["name"].startswith("vit_"):
        options.setdefault("image_size", size)
        patch = int(chosen["name"].rpartition("_")[2])
        if size % patch:
            raise ValueError(f"[task] size is {size}, and {chosen['name']} takes multiples of {patch} only.")
    if chosen["name"] in ("googlenet", "inception_v3"):
        options.setdefault("aux_logits", False)  # auxiliary classifiers, used only in their own training
    return models.get_model(chosen["name"], weights=None, num_classes=classes, **options)


def load_pretrained(backbone: torch.nn.Module, name: str, folder: Path | None) -> None:
    """Load pretrained weights, except those of another shape: the last layer's, whose classes differ.

    They come from the first .safetensors file in `folder`, or if it is None, from torchvision. Raise ValueError if
    there is no such file, or if fewer than half of the model's weights are in it.
    """
    if folder:
        files = sorted(folder.rglob("*.safetensors"))
        if not files:
            raise ValueError(f"no .safetensors file in {folder}. [model] weights must name a folder that holds one.")
        state = load_file(files[0])
    else:
        state = models.get_model_weights(name).DEFAULT.get_state_dict(progress=False, check_hash=True)
    if isinstance(backbone, models.VisionTransformer) and "encoder.pos_embedding" in state:
        # Position embeddings belong to one image size.
        state = interpolate_embeddings(backbone.image_size, backbone.patch_size, state)
    own = backbone.state_dict()
    fitting = {key: value for key, value in state.items() if key in own and own[key].shape == value.shape}
    if len(fitting) < len(own) // 2:
        raise ValueError(f"only {len(fitting)} of {len(own)} weights of {name} are in the pretrained file.")
    backbone.load_state_dict(fitting, strict=False)
