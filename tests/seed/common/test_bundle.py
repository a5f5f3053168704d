"""Test bundle.py: each step's own files are uploaded, to a prefix that is a hash of their content."""

import io
import tarfile

from spotkit.definition import bundle


def test_each_step_gets_the_files_that_its_script_imports_and_no_others():
    of_texts = ("data/texts", "data/tokens", "training/encoders", "training/ngrams")
    of_pictures = ("data/pictures", "data/pixels", "training/augment", "training/backbones")
    texts = (bundle.ROOT / "spotkit/data/texts.py").exists()
    ours = {f"spotkit/{name}.py" for name in (of_texts if texts else of_pictures)}
    packages = ("", "data/", "evaluation/", "jobs/", "serving/", "training/")
    assert set(bundle.code("evaluate").files) == ours | {
        "requirements.txt",
        "task.py",
        *(f"spotkit/{package}__init__.py" for package in packages),
        "spotkit/settings.json",
        "spotkit/settings.py",
        *(f"spotkit/data/{name}.py" for name in ("examples", "tables")),
        *(
            f"spotkit/evaluation/{name}.py"
            for name in ("baseline", "bootstrap", "evaluate", "metrics", "plain", "plots", "report", "scoring")
        ),
        *(f"spotkit/jobs/{name}.py" for name in ("job", "meeting", "start")),
        "spotkit/serving/media.py",
    }


def test_the_address_changes_with_the_content_and_with_nothing_else():
    code = bundle.code("train")

    name = "spotkit/training/train.py"
    changed = bundle.Bundle("code", {**code.files, name: code.files[name] + b"\n"})

    assert bundle.code("train").prefix == code.prefix != changed.prefix


def test_the_archive_of_a_tuning_holds_the_code_of_training_and_is_the_same_every_time():
    code = bundle.code("train")

    archive = bundle.Archive(code)

    packed = archive.files["sourcedir.tar.gz"]
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        members = tar.getmembers()
        content = {member.name: tar.extractfile(member).read() for member in members}
    assert content == code.files
    assert [(member.name, member.mtime) for member in members] == [(name, 0) for name in sorted(code.files)]
    assert bundle.Archive(bundle.code("train")).files["sourcedir.tar.gz"] == packed
    assert archive.prefix == f"code/sourcedir/{code.digest}"
