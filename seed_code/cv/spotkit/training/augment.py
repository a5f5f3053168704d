"""Random crops of pictures: one by one on a CPU, a batch at once on a GPU."""

from typing import Any

import torch
from torch.nn import functional


def random_crops(images: torch.Tensor, random: torch.Tensor, settings: dict[str, Any]) -> torch.Tensor:
    """Crop a random square out of each image, and mirror half of them with random_flip: (batch, size, size, 3).

    `random` (batch, 4), in 0..1, gives scale, left, top and mirroring of each. With random_zoom = 0 the side of the
    squares is `size`, as in evaluation; otherwise it varies from (1 - random_zoom) * size to stored_size. Runs on the
    device of the images, uint8 (batch, stored_size, stored_size, 3). `settings` is [task].
    """
    stored, size, zoom = settings["stored_size"], settings["size"], settings["random_zoom"]
    scale, across, down, mirror = random.T  # (batch,) each
    least = size * (1 - zoom)
    sides = (least + scale * (stored - least)).round().clamp(min=1) if zoom else torch.full_like(scale, size)
    # Sides, lefts and tops: (3, batch).
    squares = torch.stack([sides, (across * (stored - sides + 1)).floor(), (down * (stored - sides + 1)).floor()])
    mirrored = mirror < 0.5 if settings["random_flip"] else torch.zeros_like(mirror, dtype=torch.bool)
    cut = cut_one_by_one if images.device.type == "cpu" else cut_together
    return cut(images, squares, mirrored, size)


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
