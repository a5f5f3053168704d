"""Image classification: how pictures are read, prepared, batched, classified and served.

This file and settings.toml are what you edit to use your own data and your own model.
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

import job
import media
import tables
from examples import Example, NothingToRead, Prepared, Skipped, Unreadable, given_split

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
NOUN = "pictures"
SIZE = "pixels on the longer side"
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM")  # of several pictures in one file, the first
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".pgm", ".ppm", ".pnm")
MEDIA = (
    "image/jpeg", "image/jpg", "image/png", "image/webp", "image/bmp", "image/tiff", "image/gif",
    "image/x-portable-graymap", "image/x-portable-pixmap", "image/x-portable-anymap", "application/x-image",
)  # fmt: skip
FORM = 'the request is not {"inputs": "a picture in base64"} or a list of such'
MOST_BYTES = 100 * 2**20  # of one picture
MOST_PIXELS = 100_000_000  # of one picture: more is a decompression bomb, or a map
MOST_SIDE = 4096  # of a picture in an IDX file
LEAST_PIXELS = 4  # on the shorter side
FITS = ("crop", "pad", "squash")
NEARLY = 8  # of 255: what differs by less looks the same
THUMBNAIL = 16  # pixels on a side, by which lookalikes are found
GREY_BITS = (8, 10, 12, 16)  # that cameras and scanners use of the 16 that a file has
MANIFESTS = {".csv": ".csv", ".tsv": ".tsv", ".manifest": ".jsonl", ".jsonl": ".jsonl"}  # suffix -> kind of table
ROWS_TO_FIND_ROOT = 200  # of a manifest, whose paths say where its pictures are
BROKEN_ARCHIVE = (OSError, *tables.BROKEN_ARCHIVE)
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


# --- reading ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Picture:
    """A picture as a file, a member of a zip archive, or the grey values of an IDX file; read when it is needed."""

    path: Path
    member: str = ""
    values: np.ndarray | None = None

    def read(self) -> bytes:
        if self.values is not None:
            return self.values.tobytes()
        return archive(self.path).read(self.member) if self.member else self.path.read_bytes()


@lru_cache(maxsize=16)
def archive(path: Path) -> zipfile.ZipFile:
    """A zip archive, opened once; its members are read one at a time and never unpacked."""
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as error:
        raise ValueError(f"{path.name} is not a zip archive that can be read: {error}. Make it anew.") from error


def read(data: Path, settings: dict[str, Any]) -> Iterator[Example | Unreadable | Skipped]:
    """Yield the pictures of a manifest, of IDX files, or of folders (or zips of folders), one folder a class."""
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
    if manifests:
        found = (entry for path in manifests for entry in in_manifest(path, settings))
    elif idx:
        found = (entry for path in idx for entry in in_idx(path))
    else:
        found = in_folders(data)
    empty = True
    for entry in found:
        empty = False
        yield entry
    if empty:
        raise NothingToRead(f"no picture ({', '.join(SUFFIXES)}) in {data.name}. Put one folder a class there.")


def manifests_in(data: Path) -> list[Path]:
    """The manifests of a folder, or the one that is given itself."""
    if data.is_file():
        return [data] if data.suffix.lower() in MANIFESTS else []
    return sorted(path for path in data.glob("*") if path.suffix.lower() in MANIFESTS and not path.name.startswith("."))


def in_folders(data: Path) -> Iterator[Example | Unreadable | Skipped]:
    """The pictures of class folders and of zips of such, in the order of their names."""
    parents: dict[str, PurePosixPath] = {}
    found = [data] if data.is_file() else sorted(p for p in data.rglob("*") if p.is_file() or p.is_symlink())
    for path in found:
        name = PurePosixPath(tables.shown(path.relative_to(data) if path != data else Path(path.name)))
        if path.suffix.lower() == ".zip":
            for member, problem in members(path):
                picture = Picture(path, str(member))
                yield example_at(name / member, name.with_name(name.stem) / member, picture, problem, parents)
        elif len(name.parts) > 1:
            yield example_at(name, name, Picture(path), problem_of(path, data), parents)


def example_at(
    place: PurePosixPath, inside: PurePosixPath, picture: Picture, problem: str, parents: dict[str, PurePosixPath]
) -> Example | Unreadable | Skipped:
    """The example of a file in a class folder. A folder called train, validation or test is a split and no class.

    `inside` is its place, an archive being the folder of its name; `parents` has where each class folder was met first.
    """
    if tables.is_hidden(place):
        return Skipped(str(place), "hidden files")
    if problem:
        return Unreadable(str(place), problem)
    outer = len(inside.parts) - len(PurePosixPath(picture.member).parts) if picture.member else 0
    folders = [name for name in inside.parts[outer:-1] if not given_split(name)]  # an archive's own name is no class
    labels, note = folders[-1:], ""
    above = PurePosixPath(*folders[:-1])
    if labels and parents.setdefault(labels[0], above) != above:
        note = "in class folders of one name at several places"
    return Example("", labels, str(place), picture, note, given_split(*inside.parts[:-1]))


def members(path: Path) -> Iterator[tuple[PurePosixPath, str]]:
    """The files of an archive in the order of their names, each with what is wrong with it."""
    seen: set[str] = set()
    for entry in sorted(archive(path).infolist(), key=lambda entry: entry.filename):
        name = PurePosixPath(entry.filename)
        if entry.is_dir() or len(name.parts) < 2:
            continue
        problem = "" if name.suffix.lower() in SUFFIXES else f"not one of {', '.join(SUFFIXES)}"
        if entry.file_size > MOST_BYTES:
            problem = f"larger than {MOST_BYTES:,} bytes"
        if entry.filename in seen:
            problem = "a second file of this name"
        seen.add(entry.filename)
        yield name, problem


def problem_of(path: Path, data: Path) -> str:
    """What is wrong with a file, as far as can be seen without decoding it."""
    if not path.resolve().is_relative_to(data.resolve()):
        return "a link that leads out of the data folder"
    if path.suffix.lower() not in SUFFIXES:
        return f"not one of {', '.join(SUFFIXES)}"
    if not path.is_file():
        return "a link that leads nowhere"
    return f"larger than {MOST_BYTES:,} bytes" if path.stat().st_size > MOST_BYTES else ""


def in_manifest(path: Path, settings: dict[str, Any]) -> Iterator[Example | Unreadable | Skipped]:
    """The pictures that a CSV file or an augmented manifest lists, by paths beside it or by the addresses they came from.

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
    first = list(islice(rows, ROWS_TO_FIND_ROOT))
    references = [str(row.content.get(image)) for row in first if isinstance(row.content, dict)]
    prefix = prefix_of(references, root)
    for row in chain(first, rows):
        if not isinstance(row.content, dict):
            yield row.content
            continue
        try:
            named = manifest_labels(row.content, data)
            found = example_in_manifest(row.where, str(row.content.get(image) or ""), named, prefix, root)
            if isinstance(found, Example):
                split, group = tables.place_of(row.content, data, found.split)
                found = replace(found, split=split, group=group)
            yield found
        except tables.NoText as error:
            yield Unreadable(row.where, str(error))


def example_in_manifest(
    where: str, reference: str, labels: list[str], prefix: tuple[str, ...], root: Path
) -> Example | Unreadable:
    """The example of a manifest's row."""
    if not all(map(tables.is_utf8, (reference, *labels))):
        return Unreadable(where, tables.NOT_UTF8)
    parts = parts_of(reference)
    file = root.joinpath(*parts[len(prefix) :]) if parts[: len(prefix)] == prefix else root
    if "\0" in reference or not file.is_file():
        return Unreadable(where, f"{reference[:200]} is not in the data")
    if problem := problem_of(file, root):
        return Unreadable(where, problem)
    return Example("", labels, where, Picture(file), split=given_split(*parts[:-1]))


def parts_of(reference: str) -> tuple[str, ...]:
    """The parts of a path or an s3:// address, in the order of folders."""
    parts = PurePosixPath(reference.removeprefix("s3://")).parts
    return tuple(part for part in parts if part not in ("..", "/", "."))


def prefix_of(references: list[str], root: Path) -> tuple[str, ...]:
    """What the addresses of a manifest have before the path in the data folder: one prefix for all, that of most rows."""
    found: Counter[tuple[str, ...]] = Counter()
    for parts in map(parts_of, (reference for reference in references if "\0" not in reference)):
        found.update(parts[:start] for start in range(len(parts)) if root.joinpath(*parts[start:]).is_file())
    return min(found, key=lambda prefix: (-found[prefix], len(prefix)), default=())


def manifest_labels(row: dict[str, Any], data: dict[str, Any]) -> list[str]:
    """The class names in a manifest's row; Ground Truth keeps the names of its numbers beside them. Raises NoText."""
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
    """The pictures of an IDX file and, from the file beside it, their labels (the format of MNIST, LeCun et al.)."""
    beside = path.with_name(path.name.replace("images", "labels").replace("idx3", "idx1"))
    if not beside.is_file():
        raise ValueError(f"{path.name} has no labels: {beside.name} is not there. Put it beside it.")
    try:
        with open_idx(path) as images, open_idx(beside) as labels:
            magic, count, height, width = struct.unpack(">4i", images.read(16))
            labels_magic, labels_count = struct.unpack(">2i", labels.read(8))
            if (magic, labels_magic, labels_count) != (2051, 2049, count):
                raise ValueError(f"{path.name} and {beside.name} are not IDX files of equal length. Get them anew.")
            if not (0 < height <= MOST_SIDE and 0 < width <= MOST_SIDE):
                raise ValueError(f"{path.name} says its pictures have {height} x {width} pixels. Get it anew.")
            for number in range(count):
                values, label = images.read(height * width), labels.read(1)
                if len(values) < height * width or not label:
                    raise ValueError(f"{path.name} ends after {number} of {count} pictures. Get it anew.")
                picture = Picture(path, values=np.frombuffer(values, dtype=np.uint8).reshape(height, width))
                yield Example("", [str(label[0])], f"{path.name}, picture {number}", picture)
    except (OSError, EOFError, struct.error, zlib.error) as error:
        raise ValueError(f"{path.name} is not an IDX file that can be read: {error}. Get it anew.") from error


def open_idx(path: Path) -> Any:
    """An IDX file, compressed or not."""
    return gzip.open(path) if path.suffix == ".gz" else path.open("rb")


# --- preparing -------------------------------------------------------------------------------------------------------


def identify(example: Example, settings: dict[str, Any]) -> Example | Unreadable:
    """The example with its key: pictures are equal whose pixels are, in whatever format. Measures 16-bit greys."""
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
    """How many bits the 16-bit greys of the training split use: what preparing and serving scale them by."""
    return {"grey_bits": next(bits for bits in GREY_BITS if greatest < 2**bits)} if greatest else {}


def prepare(example: Example, settings: dict[str, Any]) -> tuple[dict[str, bytes], int] | Unreadable:
    """Decode a picture once, into stored_size x stored_size x 3 bytes; also answers its size as it came."""
    try:
        pixels, longer_side = to_pixels(example.content, settings)
    except (ValueError, *BROKEN_ARCHIVE) as error:
        return Unreadable(example.where, str(error))
    return {"image": pixels.tobytes()}, longer_side


def to_pixels(content: bytes | Picture, settings: dict[str, Any]) -> tuple[np.ndarray, int]:
    """Decode, turn as EXIF says, make RGB and fit: uint8 (stored_size, stored_size, 3).

    The one transform of training, evaluation and serving. Also answers the longer side as it came. Raises ValueError.
    What is transparent shows [task] background; greys of 16 bits become 8 by the bits that training had.
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
    """A picture, decoded when it is used. Raises ValueError for what is none, too large or too small."""
    if isinstance(content, Picture):
        content = content.values if content.values is not None else content.read()
    try:
        with open_image(content) as image:
            if image.width * image.height > MOST_PIXELS:
                raise ValueError(f"{image.width} x {image.height} pixels, more than {MOST_PIXELS:,}")
            if image.mode == "F":
                raise ValueError("32-bit floats, whose black and white nobody knows; save 8 or 16 bits")
            if min(image.size) < LEAST_PIXELS:
                raise ValueError(f"{image.width} x {image.height} pixels, less than {LEAST_PIXELS} on a side")
            yield image
    except UnidentifiedImageError as error:
        raise ValueError("not a picture that can be decoded") from error
    except (OSError, SyntaxError, EOFError, IndexError, struct.error, Image.DecompressionBombError) as error:
        raise ValueError(f"not a picture that can be decoded: {error}") from error


def greys_of(image: Image.Image) -> np.ndarray | None:
    """The greys of a picture with 16 bits a pixel, turned as EXIF says: uint16 (height, width); None for others."""
    if not image.mode.startswith("I"):
        return None
    return np.clip(np.asarray(ImageOps.exif_transpose(image)), 0, 2**16 - 1).astype(np.uint16)


def fitted(image: Image.Image, settings: dict[str, Any]) -> np.ndarray:
    """A picture on its background, upright, as uint8 (stored_size, stored_size, 3): see [task] fit."""
    size, background = settings["stored_size"], background_of(settings)
    image.draft(None, (2 * size, 2 * size))  # a large JPEG is decoded no larger than needed
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
    """The colour behind what is transparent; models of before it was a setting were trained on black."""
    name = settings.get("background", "black")
    try:
        red, green, blue = ImageColor.getrgb(name)[:3]
    except ValueError as error:
        raise ValueError(f'[task] background is {name!r}. Give a colour, as "white" or "#ffffff".') from error
    return red, green, blue


def open_image(content: bytes | np.ndarray) -> Image.Image:
    """A file's bytes, or grey values of shape (height, width), as a picture."""
    if isinstance(content, np.ndarray):
        return Image.fromarray(content)
    return Image.open(io.BytesIO(content), formats=FORMATS)


def note_of(row: dict[str, Any]) -> str:
    """Say what is odd about a prepared picture on which hardly anybody sees anything; empty for others."""
    pixels = np.frombuffer(row["image"], dtype=np.uint8)
    flat = int(pixels.max()) - int(pixels.min()) < NEARLY
    return ("nearly black" if pixels.max() < NEARLY else "of one colour") if flat else ""


def thumbnail_of(row: dict[str, Any], settings: dict[str, Any]) -> np.ndarray:
    """Return the grey levels by which lookalikes are found: uint8 (THUMBNAIL, THUMBNAIL)."""
    size = settings["stored_size"]
    image = Image.frombytes("RGB", (size, size), row["image"]).convert("L")
    return np.asarray(image.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX))


def show(row: dict[str, Any], settings: dict[str, Any]) -> dict[str, bytes]:
    """What a report shows of a row."""
    size = settings["stored_size"]
    content = io.BytesIO()
    image = Image.fromarray(np.frombuffer(row["image"], dtype=np.uint8).reshape(size, size, 3))
    image.resize((96, 96), Image.Resampling.BILINEAR).save(content, "PNG")
    return {"png": content.getvalue()}


def decode(body: bytes, content_type: str) -> list[dict[str, bytes]]:
    """Turn a request into rows that are served. Raises ValueError for what is no picture."""
    kind, charset = media.parse(content_type)
    if kind in MEDIA:
        return [{"file": body}]
    if kind in (media.ONE, media.LINES):
        return media.rows_made(body, (kind, charset), row_of, FORM)
    raise ValueError(
        f"content type {kind} is not served. Send image/jpeg, image/png, application/json or application/jsonlines."
    )


def row_of(item: Any) -> dict[str, bytes]:
    """A row of what a request holds: a picture in base64, perhaps as a data: address, or with line breaks."""
    if not isinstance(item, str):
        raise ValueError(f"{media.shown(item)} is no text; {FORM}")
    content = item.partition(",")[2] if item.startswith("data:") else item
    try:
        return {"file": base64.b64decode("".join(content.split()), validate=True)}
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"a picture of the request is not base64: {error}") from error


# --- batches ---------------------------------------------------------------------------------------------------------


class Pictures:
    """Prepared pictures, mapped into memory: chunks of shape (rows, stored_size x stored_size x 3), uint8."""

    lengths = None  # all are of one size: no need to group them

    def __init__(self, chunks: list[np.ndarray], order: np.ndarray, stored_size: int):
        self.chunks, self.stored_size = chunks, stored_size
        self.starts = np.cumsum([0] + [len(chunk) for chunk in chunks])
        self.order = order
        self.owner = np.arange(len(order))

    def __len__(self) -> int:
        return len(self.order)

    def batch(self, items: np.ndarray) -> dict[str, torch.Tensor]:
        """Some pictures as they are stored: uint8 (n, stored_size, stored_size, 3)."""
        images = np.empty((len(items), self.chunks[0].shape[1]), dtype=np.uint8)
        rows = self.order[items]
        places = np.searchsorted(self.starts, rows, side="right") - 1
        for image, place, row in zip(images, places, rows, strict=True):
            image[:] = self.chunks[place][row - self.starts[place]]
        return {"images": torch.from_numpy(images).view(len(items), self.stored_size, self.stored_size, 3)}


class Network(torch.nn.Module):
    """A torchvision backbone that takes uint8 pictures (n, size, size, 3), so that scaling is part of the model."""

    def __init__(self, backbone: torch.nn.Module):
        super().__init__()
        self.backbone = backbone
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN) * 255, persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD) * 255, persistent=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        width = images.shape[2]
        rows = images.flatten(2).float()  # (n, height, width x 3): long rows, in place, are several times as fast
        rows.sub_(self.mean.repeat(width)).div_(self.std.repeat(width))
        return self.backbone(rows.unflatten(2, (width, 3)).permute(0, 3, 1, 2))


class Classifier:
    """A torchvision model and the facts it needs: what is trained, saved and served."""

    random_numbers = 4  # that `augment` uses of each picture
    sgd = 0.0  # trained by AdamW

    def __init__(self, model: Network, facts: dict[str, Any]):
        self.model = model
        self.facts = facts
        self.problem: str = facts["problem"]
        self.labels: list[str] = facts["labels"]

    @classmethod
    def create(cls, settings: dict[str, Any], train: Prepared, pretrained: Path | None) -> "Classifier":
        """Build the backbone that [model] names: from scratch, with hub weights, or from a folder's safetensors."""
        chosen = settings["model"]
        bits = {name: train.facts[name] for name in ("grey_bits",) if name in train.facts}
        facts = {"problem": train.problem, "labels": train.labels, "task": settings["task"] | bits, "model": chosen}
        backbone = build(chosen, len(train.labels), settings["task"]["size"])
        if chosen["weights"] != "scratch":
            load_pretrained(backbone, chosen["name"], pretrained)
        return cls(Network(backbone), facts)

    def items(self, prepared: Prepared, scratch: Path) -> Pictures:
        """A split's pictures; nothing is left to be done for all of them."""
        return Pictures(prepared.pixels("image"), prepared.order, self.facts["task"]["stored_size"])

    mapped_items = items

    def items_of_request(self, rows: list[dict[str, Any]]) -> Pictures:
        """The pictures of a request, decoded as preprocessing does."""
        task = self.facts["task"]
        pixels = np.stack(media.one_by_one(rows, lambda row: to_pixels(row["file"], task)[0].reshape(-1)))
        return Pictures([pixels], np.arange(len(rows)), task["stored_size"])

    def augment(self, batch: dict[str, torch.Tensor], random: torch.Tensor) -> dict[str, torch.Tensor]:
        """Cut a random square out of each picture and mirror half of them; `random` in 0..1 of shape (n, 4) decides.

        Runs on the device. random_zoom = 0 cuts at the scale that evaluation sees; above it the square's side varies.
        """
        images, task = batch["images"], self.facts["task"]
        stored, size, zoom = task["stored_size"], task["size"], task["random_zoom"]
        scale, across, down, mirror = random.T
        least = size * (1 - zoom)
        sides = (least + scale * (stored - least)).round().clamp(min=1) if zoom else torch.full_like(scale, size)
        squares = torch.stack([sides, (across * (stored - sides + 1)).floor(), (down * (stored - sides + 1)).floor()])
        mirrored = mirror < 0.5 if task["random_flip"] else torch.zeros_like(mirror, dtype=torch.bool)
        cut = cut_one_by_one if images.device.type == "cpu" else cut_together
        return {"images": cut(images, squares, mirrored, size)}

    def last_layer(self) -> torch.nn.Module:
        """What is trained with [model] freeze: the layer whose outputs are the classes."""
        layers = [part for part in self.model.modules() if isinstance(part, torch.nn.Linear | torch.nn.Conv2d)]
        return layers[-1]

    def logits(self, model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """Logits of shape (n, classes), from the middle of each picture; `model` is self.model, perhaps wrapped."""
        size = self.facts["task"]["size"]
        margin = (batch["images"].shape[1] - size) // 2
        return model(batch["images"][:, margin : margin + size, margin : margin + size])

    def save(self, folder: Path) -> None:
        """Write weights (safetensors) and facts."""
        save_file(self.model.backbone.state_dict(), folder / "model.safetensors")
        (folder / "facts.json").write_text(json.dumps(self.facts, indent=2))

    @classmethod
    def load(cls, folder: Path) -> "Classifier":
        """Read what `save` wrote."""
        facts = json.loads((folder / "facts.json").read_text())
        backbone = build(facts["model"], len(facts["labels"]), facts["task"]["size"])
        backbone.load_state_dict(load_file(folder / "model.safetensors"))
        return cls(Network(backbone), facts)


def cut_one_by_one(images: torch.Tensor, squares: torch.Tensor, mirrored: torch.Tensor, size: int) -> torch.Tensor:
    """Squares (sides, lefts, tops: each of shape (n,)) of uint8 (n, height, width, 3), scaled to (n, size, size, 3).

    The CPU's way: nothing is done there that need not be, and bytes are scaled as they are.
    """
    cut = torch.empty((len(images), size, size, 3), dtype=torch.uint8)
    for target, image, (side, x, y), mirror in zip(
        cut, images, squares.T.int().tolist(), mirrored.tolist(), strict=True
    ):
        square = image[y : y + side, x : x + side]
        if side != size:
            # In this memory format, the CPU's fast way is taken, and the result needs no reordering.
            planes = square.permute(2, 0, 1)[None].contiguous(memory_format=torch.channels_last)
            scaled = functional.interpolate(planes, (size, size), mode="bilinear", antialias=True)
            square = scaled[0].permute(1, 2, 0)
        target.copy_(square.flip(1) if mirror else square)
    return cut


def cut_together(images: torch.Tensor, squares: torch.Tensor, mirrored: torch.Tensor, size: int) -> torch.Tensor:
    """The same, but for rounding, for all pictures at once: what a GPU wants, which a picture at a time keeps waiting.

    To cut and scale is linear along each side: a product with a matrix of few numbers that are not zero.
    """
    sides, lefts, tops = squares.float().to(images.device)
    _, height, width, _ = images.shape
    down = scaling(tops, sides, height, size)
    across = scaling(lefts, sides, width, size)
    across = torch.where(mirrored.to(images.device)[:, None, None], across.flip(1), across)
    rows = down @ images.float().flatten(2)  # (n, size, width x 3)
    cut = torch.einsum("nxw,nywc->nyxc", across, rows.unflatten(2, (width, 3)))
    return cut.round().to(torch.uint8)


def scaling(starts: torch.Tensor, sides: torch.Tensor, length: int, size: int) -> torch.Tensor:
    """Matrices (n, size, length) that take `sides` pixels from `starts` on to `size`: bilinear, without aliasing.

    Each pixel that comes out is a mean of those that went in, with weights that fall off as a triangle: as wide as the
    distance of two that come out, and two pixels at least.
    """
    scale = (sides / size)[:, None, None]
    pixels = torch.arange(length, device=starts.device) + 0.5 - starts[:, None, None]  # of the cut
    centres = (torch.arange(size, device=starts.device)[:, None] + 0.5) * scale
    weights = (1 - (pixels - centres).abs() / scale.clamp(min=1)).clamp(min=0)
    weights = weights * ((pixels > 0) & (pixels < sides[:, None, None]))
    return weights / weights.sum(-1, keepdim=True)


def build(chosen: dict[str, Any], classes: int, size: int) -> torch.nn.Module:
    """A torchvision classification model by its name, with random weights. Raises ValueError for other names."""
    if chosen["name"] not in models.list_models(module=models):
        raise ValueError(f"[model] name is {chosen['name']!r}, which torchvision does not have. Try resnet18.")
    options = dict(chosen["config"])
    if chosen["name"].startswith("vit_"):
        options.setdefault("image_size", size)
        patch = int(chosen["name"].rpartition("_")[2])
        if size % patch:
            raise ValueError(f"[task] size is {size}, and {chosen['name']} takes multiples of {patch} only.")
    if chosen["name"] in ("googlenet", "inception_v3"):
        options.setdefault("aux_logits", False)  # their further outputs, which only their own training used
    return models.get_model(chosen["name"], weights=None, num_classes=classes, **options)


def load_pretrained(backbone: torch.nn.Module, name: str, folder: Path | None) -> None:
    """Load pretrained weights, all but the last layer's, whose classes are others."""
    if folder:
        files = sorted(folder.rglob("*.safetensors"))
        if not files:
            raise ValueError(f"no .safetensors file in {folder}. [model] weights must name a folder that holds one.")
        state = load_file(files[0])
    else:
        state = models.get_model_weights(name).DEFAULT.get_state_dict(progress=False, check_hash=True)
    if isinstance(backbone, models.VisionTransformer) and "encoder.pos_embedding" in state:
        state = interpolate_embeddings(backbone.image_size, backbone.patch_size, state)  # learned for another size
    own = backbone.state_dict()
    fitting = {key: value for key, value in state.items() if key in own and own[key].shape == value.shape}
    if len(fitting) < len(own) // 2:
        raise ValueError(f"only {len(fitting)} of {len(own)} weights of {name} are in the pretrained file.")
    backbone.load_state_dict(fitting, strict=False)
