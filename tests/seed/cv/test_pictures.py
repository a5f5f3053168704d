"""Pictures: reading, decoding, random crops, the networks, and requests."""

import base64
import gzip
import io
import json
import zipfile

import numpy as np
import pytest
import task
import torch
from PIL import Image
from safetensors.torch import save_file
from torchvision import models

from spotkit import settings
from spotkit.data import examples, pixels
from spotkit.training import augment, backbones


@pytest.fixture(scope="module")
def classifier(prepared):
    chosen = settings.load()
    chosen["model"]["weights"] = "scratch"  # tests download nothing
    return task.Classifier.create(chosen, examples.Prepared(prepared / "train"), None)


def picture(mode: str, size: tuple[int, int], **options) -> bytes:
    content = io.BytesIO()
    Image.new(mode, size, 128 if mode == "L" else (200, 10, 10)).save(
        content, "PNG" if mode == "L" else "JPEG", **options
    )
    return content.getvalue()


def read(folder, **data) -> list:
    chosen = settings.load()
    chosen["data"].update(data)
    return list(task.read(folder, chosen))


def test_grey_and_colour_of_any_shape_become_square_rgb():
    shapes = {
        pixels.to_pixels(content, {"stored_size": 32})[0].shape
        for content in (picture("L", (9, 5)), picture("RGB", (50, 80)))
    }

    assert shapes == {(32, 32, 3)}


def test_a_picture_is_turned_as_exif_says():
    image = Image.new("RGB", (64, 64), (255, 0, 0))
    image.paste((0, 0, 255), (0, 32, 64, 64))
    exif = image.getexif()
    exif[0x0112] = 3  # upside down
    content = io.BytesIO()
    image.save(content, "JPEG", exif=exif)

    top = pixels.to_pixels(content.getvalue(), {"stored_size": 32})[0][0, 0]

    assert top[2] > 200 > top[0]


def test_what_is_no_picture_is_named_and_left_out(tmp_path):
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "broken.png").write_bytes(b"not a picture")

    left_out = task.prepare(read(tmp_path)[0], settings.load()["task"])

    assert left_out == examples.Unreadable("cat/broken.png", "not a picture that can be decoded")


def test_pictures_in_a_zip_are_those_of_a_folder(tmp_path):
    (tmp_path / "folder/cat").mkdir(parents=True)
    (tmp_path / "zipped").mkdir()
    (tmp_path / "folder/cat/1.jpg").write_bytes(picture("RGB", (9, 9)))
    with zipfile.ZipFile(tmp_path / "zipped/pictures.zip", "w") as archive:
        archive.write(tmp_path / "folder/cat/1.jpg", "cat/1.jpg")

    from_folder, from_zip = (read(tmp_path / name)[0] for name in ("folder", "zipped"))

    assert (from_zip.key, from_zip.labels, from_zip.where) == (from_folder.key, ["cat"], "pictures.zip/cat/1.jpg")
    assert task.prepare(from_zip, {"stored_size": 8}) == task.prepare(from_folder, {"stored_size": 8})


def test_a_manifest_names_pictures_and_their_labels(tmp_path):
    (tmp_path / "1.png").write_bytes(picture("L", (9, 9)))
    line = {"source-ref": "s3://bucket/data/1.png", "label": 0, "label-metadata": {"class-name": "cat"}}
    (tmp_path / "data.manifest").write_text(json.dumps(line) + "\n" + json.dumps(line | {"source-ref": "2.png"}))

    found, missing = read(tmp_path, label="label")

    assert (found.labels, found.content.path.name) == (["cat"], "1.png")
    assert missing == examples.Unreadable("data.manifest, line 2", "2.png is not in the data")


def test_idx_files_hold_grey_pictures_and_their_labels(tmp_path):
    values = np.arange(2 * 28 * 28, dtype=np.uint32).astype(np.uint8)
    images = np.array([2051, 2, 28, 28], dtype=">i4").tobytes() + values.tobytes()
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(images))
    labels = np.array([2049, 2], dtype=">i4").tobytes() + bytes([7, 3])
    (tmp_path / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(labels))

    found = read(tmp_path)

    assert [example.labels for example in found] == [["7"], ["3"]]
    row, size = task.prepare(found[0], {"stored_size": 28})
    assert size == 28
    assert np.frombuffer(row["image"], dtype=np.uint8)[::3].tolist() == values[: 28 * 28].tolist()


def test_16_bits_a_pixel_are_not_taken_for_white():
    content = io.BytesIO()
    Image.fromarray(np.full((4, 4), 0x8000, dtype=np.uint16)).save(content, "PNG")

    assert (pixels.to_pixels(content.getvalue(), {"stored_size": 4})[0] == 0x80).all()


@pytest.mark.parametrize("zoom", [-0.1, 1.0, 5])
def test_a_zoom_that_leaves_nothing_of_a_picture_is_refused(zoom, tmp_path):
    chosen = settings.load()
    chosen["task"]["random_zoom"] = zoom

    with pytest.raises(ValueError, match=rf"\[task\] random_zoom is {zoom}. It must be at least 0 and less than 1"):
        list(task.read(tmp_path, chosen))


@pytest.mark.parametrize("size", [20, 32, 45])
def test_a_gpu_cuts_the_same_squares_as_a_cpu(size):
    draw = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (8, 40, 40, 3), generator=draw, dtype=torch.uint8)
    sides = torch.tensor([40, 39, 32, 20, 20, 13, 7, 40])
    squares = torch.stack([sides, (40 - sides) // 2, (40 - sides) // 3])
    mirrored = torch.rand(8, generator=draw) < 0.5

    together = augment.cut_together(images, squares, mirrored, size).int()

    apart = augment.cut_one_by_one(images, squares, mirrored, size).int()
    assert (together - apart).abs().max() <= 1


@pytest.mark.parametrize("name", ["resnet18", "efficientnet_b0", "convnext_tiny", "mobilenet_v3_small", "vit_b_16"])
def test_backbones_are_found_by_name(name):
    with torch.device("meta"):
        backbone = backbones.build({"name": name, "config": {}}, 3, 32)

    assert any(parameter.shape[0] == 3 for parameter in backbone.parameters())
    facts = {"problem": "multi_class", "labels": ["a", "b", "c"]}
    assert task.Classifier(task.Network(backbone), facts).last_layer().weight.shape[0] == 3


@pytest.mark.parametrize("name", ["googlenet", "mobilenet_v3_small"])
def test_a_backbone_in_training_answers_with_logits(name):
    backbone = backbones.build({"name": name, "config": {}}, 3, 32)

    assert backbone(torch.zeros(2, 3, 32, 32)).shape == (2, 3)


def test_a_size_that_is_cut_by_patches_is_named():
    with pytest.raises(ValueError, match=r"size is 36, and vit_b_16 takes multiples of 16 only"):
        backbones.build({"name": "vit_b_16", "config": {}}, 3, 36)


def test_a_transformer_keeps_what_it_learned_of_positions_at_another_size(tmp_path):
    small = {"num_layers": 1, "num_heads": 1, "hidden_dim": 8, "mlp_dim": 8, "patch_size": 16}
    learned = models.VisionTransformer(image_size=64, num_classes=5, **small)
    torch.nn.init.constant_(learned.encoder.pos_embedding, 7)
    save_file(learned.state_dict(), tmp_path / "model.safetensors")
    backbone = models.VisionTransformer(image_size=32, num_classes=3, **small)

    backbones.load_pretrained(backbone, "vit_b_16", tmp_path)

    assert torch.allclose(backbone.encoder.pos_embedding, torch.tensor(7.0))


def test_base64_may_have_line_breaks_and_the_form_of_an_address():
    encoded = base64.encodebytes(picture("L", (90, 90))).decode()
    body = json.dumps({"inputs": [encoded, f"data:image/png;base64,{encoded}"]}).encode()

    assert task.decode(body, "application/JSON") == [{"file": picture("L", (90, 90))}] * 2
