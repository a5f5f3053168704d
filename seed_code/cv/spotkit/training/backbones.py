"""The networks of torchvision, with random or pretrained weights."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torchvision import models
from torchvision.models.vision_transformer import interpolate_embeddings


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
