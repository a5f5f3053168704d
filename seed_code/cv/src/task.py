"""Image classification: what an example is, how the model is built, how a batch is made, how a prediction is read.

Edit this file and settings.toml to use your own data and your own model. spotkit/protocols.py says what is asked of it,
and tests/test_contract.py checks it.
"""

import base64
import binascii
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from spotkit.data import pictures, pixels
from spotkit.data.examples import Example, Prepared, Skipped, Unreadable
from spotkit.serving import media
from spotkit.training import backbones
from spotkit.training.augment import random_crops

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
MEDIA = (
    "image/jpeg", "image/jpg", "image/png", "image/webp", "image/bmp", "image/tiff", "image/gif",
    "image/x-portable-graymap", "image/x-portable-pixmap", "image/x-portable-anymap", "application/x-image",
)  # fmt: skip
FORM = 'the request is not {"inputs": "a picture in base64"} or a list of such'
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


# --- examples --------------------------------------------------------------------------------------------------------


def read(data: Path, settings: dict[str, Any]) -> Iterator[Example | Unreadable | Skipped]:
    """Yield the images of manifests, else of IDX files, else of class folders and zips of class folders.

    Raise ValueError if a setting or a file is invalid, and NothingToRead if there is no image.
    """
    pixels.check(settings["task"])
    yield from pictures.read(data, settings)


def prepare(example: Example, settings: dict[str, Any]) -> tuple[dict[str, bytes], int] | Unreadable:
    """Return the row of an image, stored_size x stored_size x 3 bytes, and its longer side in pixels before scaling."""
    try:
        content, longer_side = pixels.to_pixels(example.content, settings)
    except (ValueError, *pixels.BROKEN_ARCHIVE) as error:
        return Unreadable(example.where, str(error))
    return {"image": content.tobytes()}, longer_side


# A hash of the pixels as the key, the bit depth of 16-bit greys, a warning about black images, and lookalikes.
identify, learned, note_of, thumbnail_of = pixels.identify, pixels.learned, pixels.note_of, pixels.thumbnail_of


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


# --- the model -------------------------------------------------------------------------------------------------------


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
    worth_compiling = False  # images keep a GPU busy anyway
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
        backbone = backbones.build(chosen, len(train.labels), settings["task"]["size"])
        if chosen["weights"] != "scratch":
            backbones.load_pretrained(backbone, chosen["name"], pretrained)
        return cls(Network(backbone), facts)

    def items(self, prepared: Prepared, scratch: Path) -> pixels.Pictures:
        """Return a split's images; unlike texts, they need no further preparation, so `scratch` stays empty."""
        return pixels.Pictures(prepared.pixels("image"), prepared.order, self.facts["task"]["stored_size"])

    mapped_items = items

    def items_of_request(self, rows: list[dict[str, Any]]) -> pixels.Pictures:
        """Decode the images of a request as preprocessing does. Raise ValueError for an invalid one."""
        task = self.facts["task"]
        stacked = np.stack(media.one_by_one(rows, lambda row: pixels.to_pixels(row["file"], task)[0].reshape(-1)))
        return pixels.Pictures([stacked], np.arange(len(rows)), task["stored_size"])

    def augment(self, batch: dict[str, torch.Tensor], random: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return random crops of the images; `random` (batch, 4), in 0..1, decides them."""
        return {"images": random_crops(batch["images"], random, self.facts["task"])}

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
        backbone = backbones.build(facts["model"], len(facts["labels"]), facts["task"]["size"])
        backbone.load_state_dict(load_file(folder / "model.safetensors"))
        return cls(Network(backbone), facts)
