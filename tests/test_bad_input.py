"""Bad input: one line says what was wrong and what to do, and no partial output is left."""

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, rehearse

from build.assemble import assemble, write


@pytest.mark.parametrize(
    "variables, said",
    [
        ({"TASK": "audio"}, "error: TASK is 'audio'. Choose one of: cv, nlp."),
        ({"DATA": "x.csv"}, "error: DATA and SETTINGS are for one task. Say which with TASK=cv or TASK=nlp."),
        (
            {"TASK": "nlp", "DATA": "no/such.csv"},
            "error: DATA is 'no/such.csv', and there is no such file or folder.",
        ),
        ({"TASK": "nlp", "SETTINGS": "no.toml"}, "error: SETTINGS is 'no.toml', and there is no such file."),
        (
            {"PARAMETERS": "RetainData"},
            "error: PARAMETERS has 'RetainData', no Name=value. Write it as in PARAMETERS='MonthlyBudget=50'.",
        ),
        (
            {"PARAMETERS": "Budget=50"},
            "error: PARAMETERS names 'Budget', no parameter of the project template: NoticesEmail, DataBucketArns, "
            "ImageRepositoryArns, FunctionArns, SubnetIds, SecurityGroupIds, NetworkIsolation, MonthlyBudget, RetainData, "
            "PermissionsBoundaryArn, KmsKeyArn.",
        ),
        ({"PORT": "80808"}, "error: PORT is '80808'. Give a number between 1 and 65535."),
    ],
)
def test_a_wrong_variable_ends_at_once_in_one_line(variables, said, tmp_path):
    done = rehearse(TMPDIR=str(tmp_path), **variables)

    assert (done.returncode, done.stdout, done.stderr.strip()) == (2, "", said)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_setting_ends_at_once_in_one_line(tmp_path):
    given = tmp_path / "mine.toml"
    given.write_text("[training]\nepoch = 3\n")

    done = rehearse(TASK="nlp", SETTINGS=str(given))

    assert done.returncode == 2
    assert done.stderr.startswith(
        f"error: SETTINGS {given}: unknown key [training] epoch. The seed's settings.toml has:"
    )
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "settings, said",
    [
        (
            '[compute]\nmode = "on_demand"\n',
            "INTERRUPT is for spot instances, and SETTINGS has [compute] mode = 'on_demand'. Drop one.",
        ),
        ("[tuning]\njobs = 2\n", "INTERRUPT is for the step Train, and SETTINGS has [tuning] jobs. Drop one."),
    ],
)
def test_an_interruption_of_what_is_not_run_ends_at_once_in_one_line(tmp_path, settings, said):
    given = tmp_path / "mine.toml"
    given.write_text(settings)

    done = rehearse(TASK="nlp", SETTINGS=str(given), INTERRUPT="1")

    assert (done.returncode, done.stderr) == (2, f"error: {said}\n")


def test_a_port_in_use_is_named():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        done = rehearse(PORT=str(port))

    assert (done.returncode, done.stderr.strip()) == (
        2,
        f"error: port {port} is in use. Choose another with PORT=, or end what listens there.",
    )


def test_no_git_is_named(tmp_path):
    done = rehearse(PATH=str(tmp_path))

    assert (done.returncode, done.stderr.strip()) == (2, "error: git is not installed. Install git and try again.")


def test_an_unknown_variant_is_named_by_the_build():
    done = subprocess.run(
        [sys.executable, "-m", "build", "assemble", "audio", "x"], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stderr) == (2, "error: unknown variant 'audio'. Choose one of: cv, nlp.\n")


def texts(content: str):
    return lambda folder: (folder / "data.csv").write_text(content)


def pictures(content: bytes):
    def write_them(folder: Path) -> None:
        for name in ("cat", "dog"):
            (folder / name).mkdir()
            (folder / name / "1.png").write_bytes(content)

    return write_them


def nothing(folder: Path) -> None:
    """Leave the folder empty."""


BAD_DATA = {
    "nlp": {
        "no .csv, .tsv, .json, .jsonl, .ndjson, .parquet file in": nothing,
        "column 'label' not in data.csv, which has: text.": texts("text\nhello\n"),
        "the data has 1 class (a). At least 2 are needed.": texts("text,label\nhi,a\nho,a\n"),
        "the data holds no rows. Give a file with rows in it.": texts("text,label\n"),
        "Left out: 2 of classes with fewer than [data] min_examples (2): a (1), b (1).": texts(
            "text,label\nhi,a\nho,b\n"
        ),
        "not found. Give the folder or file that holds the data.": lambda folder: folder.rmdir(),
    },
    "cv": {
        "no picture (.jpg, .jpeg, .png, .webp, .bmp, .tif, .tiff, .gif, .pgm, .ppm, .pnm) in a class folder of data. Put one folder a class there.": nothing,
        "cat/1.png: not a picture that can be decoded; dog/1.png": pictures(b"\x89PNG broken"),
    },
}
# Runs preprocess.py on each folder as a job does, but imports torch and transformers only once.
RUN_ALL = """
import contextlib, io, json, pathlib, sys
sys.path.insert(0, "src")
from spotkit.data import preprocess
from spotkit.jobs import job
said = []
for folder in map(pathlib.Path, sys.argv[1:]):
    job.OPT_ML = folder / "ml"
    job.OPT_ML.mkdir()
    stderr, code = io.StringIO(), 0
    with contextlib.redirect_stderr(stderr):
        try:
            job.run(lambda: preprocess.main(["--data", str(folder / "data"), "--output", str(folder / "out")]))
        except SystemExit as stop:
            code = stop.code
    message = job.OPT_ML / "output/message"
    said.append([code, stderr.getvalue(), message.read_text() if message.exists() else None])
print(json.dumps(said))
"""


@pytest.mark.parametrize("variant", BAD_DATA)
def test_bad_data_fails_the_step_in_one_line(tmp_path, variant):
    write(assemble(variant), tmp_path / "seed")
    folders = [tmp_path / f"case{number}" for number in range(len(BAD_DATA[variant]))]
    for folder, make_data in zip(folders, BAD_DATA[variant].values(), strict=True):
        (folder / "data").mkdir(parents=True)
        make_data(folder / "data")

    done = subprocess.run(
        [sys.executable, "-c", RUN_ALL, *folders], cwd=tmp_path / "seed", capture_output=True, text=True, check=True
    )

    for wanted, (code, stderr, message) in zip(
        BAD_DATA[variant], json.loads(done.stdout.splitlines()[-1]), strict=True
    ):
        assert (code, len(stderr.splitlines()), wanted in stderr) == (1, 1, True), stderr
        assert stderr == f"error: {message}\n"  # SageMaker shows the message on the job's page


@pytest.mark.parametrize(
    "change, said",
    [
        (("epochs = ", "epoch = "), "unknown key [training] epoch. Did you mean [training] epochs?"),
        (("[gate]", "[gates]"), "unknown section [gates]. Did you mean [gate]?"),
        (('mode = "spot"', 'mode = "cheap"'), "[compute] mode is 'cheap'. Choose one of: spot, on_demand, compare."),
        (("threshold = 0.5", "threshold = 5"), "[gate] threshold is 5. It must be between 0.0 and 1.0."),
        (("max_wait_hours = 8", "max_wait_hours = 1"), "[compute] max_wait_hours is 1, less than max_run_hours (4)."),
        (("seed = 1 ", "seed = one "), "settings.toml is not valid TOML:"),
    ],
)
def test_a_wrong_setting_fails_the_build_in_one_line(tmp_path, change, said):
    write(assemble("nlp"), tmp_path)
    settings = tmp_path / "settings.toml"
    assert change[0] in settings.read_text()
    settings.write_text(settings.read_text().replace(*change, 1))

    done = subprocess.run([sys.executable, "pipeline.py"], cwd=tmp_path, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout) == (1, "")
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
