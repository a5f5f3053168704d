"""What is uploaded: each step's own files, under a hash of their content."""

import bundle


def test_each_step_gets_the_files_that_its_script_imports_and_no_others():
    assert set(bundle.code("evaluate").files) == {
        "evaluate.py",
        "examples.py",
        "job.py",
        "metrics.py",
        "plots.py",
        "report.py",
        "requirements.txt",
        "scoring.py",
        "settings.json",
        "settings.py",
        "start.py",
        "task.py",
    }


def test_the_address_changes_with_the_content_and_with_nothing_else():
    code = bundle.code("train")

    changed = bundle.Bundle("code", {**code.files, "train.py": code.files["train.py"] + b"\n"})

    assert bundle.code("train").prefix == code.prefix != changed.prefix
