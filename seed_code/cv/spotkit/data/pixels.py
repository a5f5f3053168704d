"""Decode pictures to pixels, alike for training, evaluation and serving, and keep those of a split memory-mapped."""

import hashlib
import io
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageColor, ImageOps, UnidentifiedImageError

from spotkit.data import tables
from spotkit.data.examples import Example, Unreadable
from spotkit.data.pictures import Picture

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM")  # of several images in one file, the first
MAX_PIXELS = 100_000_000  # of one image: more is a decompression bomb, or a map
MIN_PIXELS = 4  # on the shorter side
FITS = ("crop", "pad", "squash")
NEARLY = 8  # of 255 levels: smaller differences are invisible
THUMBNAIL = 16  # side in pixels of the thumbnails that lookalikes.py compares
GREY_BITS = (8, 10, 12, 16)  # bit depths of cameras and scanners, which store them in 16 bits
BROKEN_ARCHIVE = (OSError, *tables.BROKEN_ARCHIVE)


def check(settings: dict[str, Any]) -> None:
    """Raise ValueError if [task] asks for something that cannot be done."""
    if not 0 < settings["size"] <= settings["stored_size"]:
        raise ValueError(
            f"[task] size is {settings['size']}. It must be between 1 and stored_size ({settings['stored_size']})."
        )
    if not 0 <= settings["random_zoom"] < 1:
        raise ValueError(f"[task] random_zoom is {settings['random_zoom']}. It must be at least 0 and less than 1.")
    background_of(settings)
    if settings["fit"] not in FITS:
        raise ValueError(f"[task] fit is {settings['fit']!r}. Choose: {', '.join(FITS)}.")


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
