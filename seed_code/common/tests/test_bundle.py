"""Test bundle.py: each step's own files are uploaded, to a prefix that is a hash of their content."""

import io
import tarfile

import bundle


def test_each_step_gets_the_files_that_its_script_imports_and_no_others():
    ours = {path.name for path in (bundle.ROOT / "src").glob("ngrams.py")}  # only in the variant for texts
    assert set(bundle.code("evaluate").files) == ours | {
        "baseline.py",
        "bootstrap.py",
        "evaluate.py",
        "examples.py",
        "job.py",
        "media.py",
        "meeting.py",
        "metrics.py",
        "plain.py",
        "plots.py",
        "report.py",
        "requirements.txt",
        "scoring.py",
        "settings.json",
        "settings.py",
        "start.py",
        "tables.py",
        "task.py",
    }


def test_the_address_changes_with_the_content_and_with_nothing_else():
    code = bundle.code("train")

    changed = bundle.Bundle("code", {**code.files, "train.py": code.files["train.py"] + b"\n"})

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
