"""Image classification: how pictures are read, prepared, batched, classified and served.

This file and settings.toml are what you edit to use your own data and your own model.
"""

import base64
import binascii
import csv
import gzip
import hashlib
import io
import json
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from safetensors.torch import load_file, save_file
from torch.nn import functional
from torchvision import models
from torchvision.models.vision_transformer import interpolate_embeddings

import job
from examples import Example, NothingToRead, Prepared, Unreadable

SETTINGS = {"image": str, "size": int, "stored_size": int, "random_zoom": float, "random_flip": bool}
SIZE = "pixels on the longer side"
FORMATS = ("JPEG", "PNG", "WEBP", "BMP")
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
MOST_BYTES = 100 * 2**20  # of one picture
MOST_PIXELS = 100_000_000  # of one picture: more is a decompression bomb, or a map
MOST_SIDE = 4096  # of a picture in an IDX file
LEAST_PIXELS = 4  # on the shorter side
# RuntimeError: a member with a password; NotImplementedError, which is one: a compression that Python does not know.
BROKEN_ARCHIVE = (OSError, EOFError, zipfile.BadZipFile, RuntimeError, zlib.error)
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


def read(data: Path, settings: dict[str, Any]) -> Iterator[Example | Unreadable]:
    """Yield the pictures of a manifest, of IDX files, or of folders (or zips of folders), one folder a class."""
    task = settings["task"]
    if not 0 < task["size"] <= task["stored_size"]:
        raise ValueError(
            f"[task] size is {task['size']}. It must be between 1 and stored_size ({task['stored_size']})."
        )
    if not 0 <= task["random_zoom"] < 1:
        raise ValueError(f"[task] random_zoom is {task['random_zoom']}. It must be at least 0 and less than 1.")
    manifests = sorted(path for path in data.glob("*") if path.suffix.lower() in (".csv", ".manifest", ".jsonl"))
    idx = sorted(path for path in data.rglob("*images*idx3*") if path.is_file())
    if (manifests or idx) and len(job.hosts()[0]) > 1:
        raise ValueError(
            f"{(manifests or idx)[0].name} belongs with other files, and several instances each get some of them. "
            "Set [compute] processing_instance_count to 1, or give one folder a class."
        )
    if manifests:
        found = (entry for path in manifests for entry in in_manifest(path, data, settings))
    elif idx:
        found = (entry for path in idx for entry in in_idx(path))
    else:
        found = in_folders(data)
    empty = True
    for picture, labels, where in found:
        empty = False
        yield example_of(picture, labels, where)
    if empty:
        raise NothingToRead(f"no picture ({', '.join(SUFFIXES)}) in {data.name}. Put one folder a class there.")


def example_of(picture: Picture | str, labels: list[str], where: str) -> Example | Unreadable:
    """The example of a picture, with the hash of its bytes as key, or why there is none (`picture` says it)."""
    if isinstance(picture, str):
        return Unreadable(where, picture)
    try:
        return Example(hashlib.sha256(picture.read()).hexdigest(), labels, where, picture)
    except BROKEN_ARCHIVE as error:
        return Unreadable(where, f"cannot be read: {error}")


def in_folders(data: Path) -> Iterator[tuple[Picture | str, list[str], str]]:
    """The pictures of class folders and of zips of such, in the order of their names."""
    for path in sorted(path for path in data.rglob("*") if path.is_file() or path.is_symlink()):
        # What is no UTF-8 in a name cannot be written to a report.
        name = PurePosixPath(str(path.relative_to(data)).encode(errors="replace").decode())
        if path.suffix.lower() == ".zip":
            for member, problem in members(path):
                place = f"{name}/{member}"
                yield problem or Picture(path, str(member)), [member.parent.name], place
        elif is_in_class_folder(name):
            yield problem_of(path, data) or Picture(path), [name.parent.name], str(name)


def members(path: Path) -> Iterator[tuple[PurePosixPath, str]]:
    """The files of an archive in the order of their names, each with what is wrong with it."""
    seen: set[str] = set()
    for entry in sorted(archive(path).infolist(), key=lambda entry: entry.filename):
        name = PurePosixPath(entry.filename)
        if entry.is_dir() or not is_in_class_folder(name):
            continue
        problem = "" if name.suffix.lower() in SUFFIXES else f"not one of {', '.join(SUFFIXES)}"
        if entry.file_size > MOST_BYTES:
            problem = f"larger than {MOST_BYTES:,} bytes"
        if entry.filename in seen:
            problem = "a second file of this name"
        seen.add(entry.filename)
        yield name, problem


def is_in_class_folder(name: PurePosixPath) -> bool:
    """Whether a file lies in a folder, neither of them hidden: only such have a class."""
    return len(name.parts) > 1 and not any(part.startswith((".", "__")) for part in name.parts)


def problem_of(path: Path, data: Path) -> str:
    """What is wrong with a file, as far as can be seen without decoding it."""
    if not path.resolve().is_relative_to(data.resolve()):
        return "a link that leads out of the data folder"
    if path.suffix.lower() not in SUFFIXES:
        return f"not one of {', '.join(SUFFIXES)}"
    if not path.is_file():
        return "a link that leads nowhere"
    return f"larger than {MOST_BYTES:,} bytes" if path.stat().st_size > MOST_BYTES else ""


def in_manifest(path: Path, data: Path, settings: dict[str, Any]) -> Iterator[tuple[Picture | str, list[str], str]]:
    """The pictures that a CSV file or an augmented manifest lists.

    https://docs.aws.amazon.com/sagemaker/latest/dg/augmented-manifest.html
    """
    image, label = settings["task"]["image"], settings["data"]["label"]
    with path.open(encoding="utf-8-sig", newline="") as lines:
        filled = (line for line in lines if line.strip())
        rows: Iterable[Any] = csv.DictReader(filled) if path.suffix.lower() == ".csv" else map(json.loads, filled)
        try:
            for number, row in enumerate(rows, 2 if path.suffix.lower() == ".csv" else 1):
                for column, setting in ((image, "[task] image"), (label, "[data] label")):
                    if column not in row:
                        raise ValueError(
                            f"{column!r} not in {path.name}, which has: {', '.join(map(str, row))}. "
                            f"Set {setting} in settings.toml."
                        )
                file = find(str(row[image]), data)
                picture = problem_of(file, data) or Picture(file) if file else f"{row[image]} is not in the data"
                yield picture, manifest_labels(row, label), f"{path.name}, line {number}"
        except (json.JSONDecodeError, UnicodeDecodeError, csv.Error, TypeError, KeyError) as error:
            raise ValueError(f"{path.name} cannot be read: {error!r}. Correct that line.") from error


def manifest_labels(row: dict[str, Any], label: str) -> list[str]:
    """The class names in a manifest's row; Ground Truth keeps the names of its numbers beside them."""
    metadata = row.get(f"{label}-metadata") or {}
    if "class-map" in metadata:
        return [str(metadata["class-map"][str(value)]) for value in row[label]]
    if "class-name" in metadata:
        return [str(metadata["class-name"])]
    given = row[label] if isinstance(row[label], list) else [row[label]]
    return [name for value in given if value is not None and (name := str(value).strip())]


def find(reference: str, data: Path) -> Path | None:
    """The file in the data folder that a manifest names, by a path or by the s3:// address that it came from."""
    parts = [part for part in PurePosixPath(reference.removeprefix("s3://")).parts if part not in ("..", "/")]
    candidates = (data.joinpath(*parts[start:]) for start in range(len(parts)))
    return next((path for path in candidates if path.is_file()), None)


def in_idx(path: Path) -> Iterator[tuple[Picture | str, list[str], str]]:
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
                yield picture, [str(label[0])], f"{path.name}, picture {number}"
    except (OSError, EOFError, struct.error, zlib.error) as error:
        raise ValueError(f"{path.name} is not an IDX file that can be read: {error}. Get it anew.") from error


def open_idx(path: Path) -> Any:
    """An IDX file, compressed or not."""
    return gzip.open(path) if path.suffix == ".gz" else path.open("rb")


# --- preparing -------------------------------------------------------------------------------------------------------


def prepare(example: Example, settings: dict[str, Any]) -> tuple[dict[str, bytes], int] | Unreadable:
    """Decode a picture once, into stored_size x stored_size x 3 bytes; also answers its size as it came."""
    try:
        picture: Picture = example.content
        given = picture.values if picture.values is not None else picture.read()
        pixels, longer_side = to_pixels(given, settings["stored_size"])
    except (ValueError, *BROKEN_ARCHIVE) as error:
        return Unreadable(example.where, str(error))
    return {"image": pixels.tobytes()}, longer_side


def to_pixels(content: bytes | np.ndarray, size: int) -> tuple[np.ndarray, int]:
    """Decode, turn as EXIF says, make RGB, scale the shorter side and cut the middle: uint8 (size, size, 3).

    The one transform of training, evaluation and serving. Also answers the longer side as it came. Raises ValueError.
    """
    try:
        with open_image(content) as image:
            if image.width * image.height > MOST_PIXELS:
                raise ValueError(f"{image.width} x {image.height} pixels, more than {MOST_PIXELS:,}")
            if min(image.size) < LEAST_PIXELS:
                raise ValueError(f"{image.width} x {image.height} pixels, less than {LEAST_PIXELS} on a side")
            longer_side = max(image.size)
            image.draft(None, (2 * size, 2 * size))  # a large JPEG is decoded no larger than needed
            upright = ImageOps.exif_transpose(image)
            if upright.mode.startswith("I"):  # 16 bits a pixel: the upper 8 are what a screen shows
                upright = Image.fromarray((np.asarray(upright) >> 8).astype(np.uint8))
            fitted = ImageOps.fit(upright.convert("RGB"), (size, size), Image.Resampling.BILINEAR)
            return np.asarray(fitted), longer_side
    except UnidentifiedImageError as error:
        raise ValueError("not a picture that can be decoded") from error
    except (OSError, SyntaxError, EOFError, IndexError, struct.error, Image.DecompressionBombError) as error:
        raise ValueError(f"not a picture that can be decoded: {error}") from error


def open_image(content: bytes | np.ndarray) -> Image.Image:
    """A file's bytes, or grey values of shape (height, width), as a picture."""
    if isinstance(content, np.ndarray):
        return Image.fromarray(content)
    return Image.open(io.BytesIO(content), formats=FORMATS)


def show(row: dict[str, Any], settings: dict[str, Any]) -> dict[str, bytes]:
    """What a report shows of a row."""
    size = settings["stored_size"]
    content = io.BytesIO()
    image = Image.fromarray(np.frombuffer(row["image"], dtype=np.uint8).reshape(size, size, 3))
    image.resize((96, 96), Image.Resampling.BILINEAR).save(content, "PNG")
    return {"png": content.getvalue()}


def decode(body: bytes, content_type: str) -> list[dict[str, bytes]]:
    """Turn a request into rows that are served. Raises ValueError for what is no picture."""
    if content_type in ("image/jpeg", "image/png", "image/webp", "image/bmp", "application/x-image"):
        return [{"file": body}]
    if content_type == "application/json":
        request = json.loads(body)
        pictures = request.get("inputs") if isinstance(request, dict) else request
        pictures = [pictures] if isinstance(pictures, str) else pictures
        if isinstance(pictures, list) and pictures and all(isinstance(picture, str) for picture in pictures):
            try:
                return [{"file": base64.b64decode(picture, validate=True)} for picture in pictures]
            except binascii.Error as error:
                raise ValueError(f"a picture of the request is not base64: {error}") from error
        raise ValueError('the request is not {"inputs": "a picture in base64"} or a list of such')
    raise ValueError(f"content type {content_type} is not served. Send image/jpeg, image/png or application/json.")


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

    def __init__(self, model: Network, facts: dict[str, Any]):
        self.model = model
        self.facts = facts
        self.problem: str = facts["problem"]
        self.labels: list[str] = facts["labels"]

    @classmethod
    def create(cls, settings: dict[str, Any], train: Prepared, pretrained: Path | None) -> "Classifier":
        """Build the backbone that [model] names: from scratch, with hub weights, or from a folder's safetensors."""
        chosen = settings["model"]
        facts = {"problem": train.problem, "labels": train.labels, "task": settings["task"], "model": chosen}
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
        stored = self.facts["task"]["stored_size"]
        pixels = np.stack([to_pixels(row["file"], stored)[0].reshape(-1) for row in rows])
        return Pictures([pixels], np.arange(len(rows)), stored)

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
