"""Image classification: how pictures are read, prepared, batched, classified and served.

This file and settings.toml are what you edit to use your own data and your own model.
"""

import base64
import hashlib
import io
import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from safetensors.torch import load_file, save_file
from torchvision import models
from torchvision.transforms import v2
from transformers.utils import ModelOutput

from examples import Example, Prepared

SETTINGS = {"size": int, "random_crop": int, "random_flip": bool}
FORMATS = ("JPEG", "PNG", "WEBP", "BMP")
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
MOST_BYTES = 100 * 2**20  # of one picture in an archive
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Picture:
    """A picture as a file, or as a member of a zip archive; read when it is needed."""

    path: Path
    member: str = ""

    def read(self) -> bytes:
        if not self.member:
            return self.path.read_bytes()
        with zipfile.ZipFile(self.path) as archive:
            return archive.read(self.member)


def read(data: Path, settings: dict[str, Any]) -> Iterator[Example]:
    """Yield the pictures of a folder that holds one folder a class, or zip archives of such, in the order of names."""
    found = {str(path.relative_to(data)): Picture(path) for path in sorted(data.glob("*/*")) if path.is_file()}
    for path in sorted(data.glob("*.zip")):
        found |= {name: Picture(path, name) for name in members(path)}
    pictures = {name: picture for name, picture in found.items() if is_picture(PurePosixPath(name))}
    if not pictures:
        raise ValueError(f"no picture ({', '.join(SUFFIXES)}) in a folder below {data}. Put one folder a class there.")
    for name, picture in pictures.items():
        digest = hashlib.sha256(picture.read()).hexdigest()
        yield Example(digest, [PurePosixPath(name).parent.name], name, picture)


def members(path: Path) -> list[str]:
    """The files of an archive, which are read one at a time and never unpacked. Raises ValueError for a hostile one."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir()]
    except zipfile.BadZipFile as error:
        raise ValueError(f"{path.name} is not a zip archive that can be read: {error}. Make it anew.") from error
    for entry in entries:
        if entry.file_size > MOST_BYTES:
            raise ValueError(f"{path.name}: {entry.filename} is larger than {MOST_BYTES:,} bytes. Take it out.")
    return sorted({entry.filename for entry in entries})


def is_picture(name: PurePosixPath) -> bool:
    """Whether a name is that of a picture in a folder of a class: class/picture.png."""
    return len(name.parts) == 2 and name.suffix.lower() in SUFFIXES and not name.parts[0].startswith(".")


def prepare(example: Example, settings: dict[str, Any]) -> dict[str, bytes]:
    """Decode a picture once, into the bytes of size x size x 3 values. Raises ValueError with the file's name."""
    try:
        return {"image": to_pixels(example.content.read(), settings["size"]).tobytes()}
    except ValueError as error:
        raise ValueError(f"{example.where}: {error}") from error


def to_pixels(content: bytes, size: int) -> np.ndarray:
    """Decode, turn as EXIF says, make RGB, scale the shorter side and cut the middle: uint8 (size, size, 3).

    The one transform that training, evaluation and serving share.
    """
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            upright = ImageOps.exif_transpose(image)
            if upright.mode.startswith("I"):  # 16 bits a pixel: the upper 8 are what a screen shows
                upright = Image.fromarray((np.asarray(upright) >> 8).astype(np.uint8))
            upright = upright.convert("RGB")
            return np.asarray(ImageOps.fit(upright, (size, size), Image.Resampling.BILINEAR))
    except UnidentifiedImageError as error:
        raise ValueError("not a picture that can be decoded. Remove or replace it.") from error
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"not a picture that can be decoded: {error}. Remove or replace it.") from error


def decode(body: bytes, content_type: str) -> list[dict[str, bytes]]:
    """Turn a request into rows that `Classifier.predict` takes. Raises ValueError for what is no picture."""
    if content_type in ("image/jpeg", "image/png", "image/webp", "image/bmp", "application/x-image"):
        return [{"file": body}]
    if content_type == "application/json":
        request = json.loads(body)
        pictures = request.get("inputs") if isinstance(request, dict) else request
        pictures = [pictures] if isinstance(pictures, str) else pictures
        if isinstance(pictures, list) and pictures and all(isinstance(picture, str) for picture in pictures):
            return [{"file": base64.b64decode(picture)} for picture in pictures]
        raise ValueError('the request is not {"inputs": "a picture in base64"} or a list of such')
    raise ValueError(f"content type {content_type} is not served. Send image/jpeg, image/png or application/json.")


class Network(torch.nn.Module):
    """A torchvision backbone that takes uint8 pictures (n, size, size, 3), so that scaling is part of the model."""

    def __init__(self, backbone: torch.nn.Module, problem: str):
        super().__init__()
        self.backbone = backbone
        self.loss = torch.nn.CrossEntropyLoss() if problem == "multi_class" else torch.nn.BCEWithLogitsLoss()
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1) * 255, persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1) * 255, persistent=False)

    def forward(self, images: torch.Tensor, labels: torch.Tensor | None = None) -> ModelOutput:
        scaled = (images.permute(0, 3, 1, 2).float() - self.mean) / self.std
        logits = self.backbone(scaled)
        return (
            ModelOutput(logits=logits) if labels is None else ModelOutput(loss=self.loss(logits, labels), logits=logits)
        )


class Classifier:
    """A torchvision model and the facts it needs: what is trained, saved and served."""

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
        backbone = build(chosen, len(train.labels))
        if chosen["weights"] != "scratch":
            load_pretrained(backbone, chosen["name"], pretrained)
        return cls(Network(backbone, train.problem), facts)

    def collate(self, rows: list[dict[str, Any]], training: bool = False) -> dict[str, torch.Tensor]:
        """Stack rows into uint8 images (n, size, size, 3) and labels; training batches are augmented."""
        size = self.facts["task"]["size"]
        images = torch.stack(
            [torch.frombuffer(bytearray(row["image"]), dtype=torch.uint8).view(size, size, 3) for row in rows]
        )
        batch = {"images": self.augment(images) if training else images}
        if "labels" in rows[0]:
            batch["labels"] = label_tensor([row["labels"] for row in rows], len(self.labels), self.problem)
        return batch

    def augment(self, images: torch.Tensor) -> torch.Tensor:
        """Shift each picture by up to `random_crop` pixels and, with `random_flip`, mirror half of them."""
        task = self.facts["task"]
        crop = v2.RandomCrop(task["size"], padding=task["random_crop"], padding_mode="edge")
        steps = v2.Compose([crop] + ([v2.RandomHorizontalFlip()] if task["random_flip"] else []))
        return torch.stack([steps(image.permute(2, 0, 1)).permute(1, 2, 0) for image in images])

    @torch.inference_mode()
    def predict(self, rows: list[dict[str, Any]]) -> np.ndarray:
        """Scores between 0 and 1, of shape (rows, classes), from prepared rows or from picture files."""
        self.model.eval()
        size = self.facts["task"]["size"]
        prepared = [
            {"image": to_pixels(row["file"], size).tobytes() if "file" in row else row["image"]} for row in rows
        ]
        images = self.collate(prepared)["images"].to(self.model.mean.device)
        logits = self.model(images=images).logits.float()
        scores = logits.softmax(-1) if self.problem == "multi_class" else logits.sigmoid()
        return scores.cpu().numpy()

    def save(self, folder: Path) -> None:
        """Write weights (safetensors) and facts."""
        save_file(self.model.backbone.state_dict(), folder / "model.safetensors")
        (folder / "facts.json").write_text(json.dumps(self.facts, indent=2))

    @classmethod
    def load(cls, folder: Path) -> "Classifier":
        """Read what `save` wrote."""
        facts = json.loads((folder / "facts.json").read_text())
        backbone = build(facts["model"], len(facts["labels"]))
        backbone.load_state_dict(load_file(folder / "model.safetensors"))
        return cls(Network(backbone, facts["problem"]), facts)


def build(chosen: dict[str, Any], classes: int) -> torch.nn.Module:
    """A torchvision classification model by its name, with random weights. Raises ValueError for other names."""
    if chosen["name"] not in models.list_models(module=models):
        raise ValueError(f"[model] name is {chosen['name']!r}, which torchvision does not have. Try resnet18.")
    return models.get_model(chosen["name"], weights=None, num_classes=classes, **chosen["config"])


def load_pretrained(backbone: torch.nn.Module, name: str, folder: Path | None) -> None:
    """Load pretrained weights, all but the last layer's, whose classes are others."""
    if folder:
        files = sorted(folder.rglob("*.safetensors"))
        if not files:
            raise ValueError(f"no .safetensors file in {folder}. [model] weights must name a folder that holds one.")
        state = load_file(files[0])
    else:
        state = models.get_model_weights(name).DEFAULT.get_state_dict(progress=False, check_hash=True)
    own = backbone.state_dict()
    fitting = {key: value for key, value in state.items() if key in own and own[key].shape == value.shape}
    if len(fitting) < len(own) // 2:
        raise ValueError(f"only {len(fitting)} of {len(own)} weights of {name} are in the pretrained file.")
    backbone.load_state_dict(fitting, strict=False)


def label_tensor(labels: list[list[int]], classes: int, problem: str) -> torch.Tensor:
    """Class numbers (n,) for multi_class; zeros and ones (n, classes) for multi_label."""
    if problem == "multi_class":
        return torch.tensor([numbers[0] for numbers in labels])
    return torch.stack(
        [torch.zeros(classes).index_fill_(0, torch.tensor(numbers, dtype=torch.long), 1.0) for numbers in labels]
    )
