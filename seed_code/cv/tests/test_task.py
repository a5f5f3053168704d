"""The seam for pictures: reading, preparing, batching and serving."""

import io
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

import examples
import settings
import task


@pytest.fixture(scope="module")
def classifier(prepared):
    return task.Classifier.create(settings.load(), examples.Prepared(prepared / "train"), None)


def picture(mode: str, size: tuple[int, int], **options) -> bytes:
    content = io.BytesIO()
    Image.new(mode, size, 128 if mode == "L" else (200, 10, 10)).save(
        content, "PNG" if mode == "L" else "JPEG", **options
    )
    return content.getvalue()


def test_grey_and_colour_of_any_shape_become_square_rgb():
    assert (
        task.to_pixels(picture("L", (9, 5)), 32).shape
        == task.to_pixels(picture("RGB", (50, 80)), 32).shape
        == (32, 32, 3)
    )


def test_a_picture_is_turned_as_exif_says():
    image = Image.new("RGB", (64, 64), (255, 0, 0))
    image.paste((0, 0, 255), (0, 32, 64, 64))
    exif = image.getexif()
    exif[0x0112] = 3  # upside down
    content = io.BytesIO()
    image.save(content, "JPEG", exif=exif)

    top = task.to_pixels(content.getvalue(), 32)[0, 0]

    assert top[2] > 200 > top[0]


def test_what_is_no_picture_is_named(tmp_path):
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "broken.png").write_bytes(b"not a picture")
    example = next(task.read(tmp_path, settings.load()))

    with pytest.raises(ValueError, match="cat/broken.png: not a picture that can be decoded"):
        task.prepare(example, settings.load()["task"])


def test_pictures_in_a_zip_are_those_of_a_folder(tmp_path):
    (tmp_path / "folder/cat").mkdir(parents=True)
    (tmp_path / "zipped").mkdir()
    (tmp_path / "folder/cat/1.jpg").write_bytes(picture("RGB", (9, 9)))
    with zipfile.ZipFile(tmp_path / "zipped/pictures.zip", "w") as archive:
        archive.write(tmp_path / "folder/cat/1.jpg", "cat/1.jpg")

    from_folder, from_zip = (list(task.read(tmp_path / name, {})) for name in ("folder", "zipped"))

    assert [(e.key, e.labels, e.where) for e in from_zip] == [(e.key, e.labels, e.where) for e in from_folder]
    assert task.prepare(from_zip[0], {"size": 8}) == task.prepare(from_folder[0], {"size": 8})


def test_16_bits_a_pixel_are_not_taken_for_white():
    content = io.BytesIO()
    Image.fromarray(np.full((4, 4), 0x8000, dtype=np.uint16)).save(content, "PNG")

    assert (task.to_pixels(content.getvalue(), 4) == 0x80).all()


def test_augmentation_changes_training_batches_only(classifier):
    size = settings.load()["task"]["size"]
    row = {"image": np.random.default_rng(1).integers(0, 255, (size, size, 3), dtype=np.uint8).tobytes()}

    plain = classifier.collate([row])["images"]

    assert torch.equal(plain, classifier.collate([row])["images"])
    assert any(not torch.equal(plain, classifier.collate([row], training=True)["images"]) for _ in range(20))


def test_a_saved_model_answers_as_the_one_in_memory(classifier, tmp_path):
    classifier.save(tmp_path)

    loaded = task.Classifier.load(tmp_path)

    rows = task.decode(picture("RGB", (40, 40)), "image/jpeg")
    assert (loaded.predict(rows) == classifier.predict(rows)).all()
