"""A variant is one folder: tests/points, of rows of numbers, goes from the portfolio to a prediction.

Its team has a step of its own in the pipeline.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import tomlkit
from conftest import ROOT

from build.assemble import git

STEP = """
    count = steps.script(
        build, "Count", "src/count.py", {"test": steps.output(preprocess, "test")}, outputs=("counts",)
    )
"""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    """Clone this repository, and add the variant and the step."""
    clone = tmp_path_factory.mktemp("bundle") / "clone"
    git("clone", "--quiet", "--shared", str(ROOT), str(clone))
    (clone / ".venv").symlink_to(ROOT / ".venv")
    seed = clone / "seed_code/points"
    shutil.copytree(ROOT / "tests/points", seed, ignore=shutil.ignore_patterns("__pycache__"))
    settings = tomlkit.parse((clone / "seed_code/nlp/settings.toml").read_text())
    settings["task"] = {"columns": ["x", "y"]}
    settings["model"]["name"] = "network"
    settings["training"] |= {"learning_rate": 0.02, "epochs": 20}
    (seed / "settings.toml").write_text(tomlkit.dumps(settings))
    (seed / "sample").mkdir()
    write = "import sys, tiny; from pathlib import Path; tiny.write_data(Path(sys.argv[1]), {})"
    subprocess.run([sys.executable, "-c", write, str(seed / "sample")], cwd=seed / "tests", check=True)

    pipeline = clone / "seed_code/common/pipeline.py"
    text = pipeline.read_text()
    text = text.replace("    register = steps.register(", f"{STEP.lstrip(chr(10))}    register = steps.register(")
    pipeline.write_text(text.replace("*training, evaluate, gate]", "*training, evaluate, count, gate]"))
    git("-C", str(clone), "add", "--all")
    return clone


# As `make rehearse TASK=points KEEP=1`, but ended at once: what comes after a first prediction is the same for all variants.
PLAY = """
from rehearsal import play, server
from rehearsal.console import Console
from rehearsal.scenario import install

options = play.Options.from_environment({"TASK": "points", "KEEP": "1"})
emulator, console = server.start(None), Console()
try:
    built, _ = install(emulator, console)
    play.play_variant(emulator, console, options, "points", built, None)
    s3 = emulator.client("s3")
    bucket = next(each["Name"] for each in s3.list_buckets()["Buckets"] if each["Name"].startswith("sagemaker-p-"))
    keys = [each["Key"] for each in s3.list_objects_v2(Bucket=bucket, Prefix="runs/")["Contents"]]
    key = next(key for key in keys if key.endswith("/counts/rows.txt"))
    print("counted:", s3.get_object(Bucket=bucket, Key=key)["Body"].read().decode())
finally:
    emulator.end()
"""


@pytest.fixture(scope="module")
def printed(bundle) -> str:
    done = subprocess.run([sys.executable, "-c", PLAY], cwd=bundle, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_it_goes_from_the_portfolio_to_a_prediction(printed):
    assert re.search(r"CreateProject \(Service Catalog\) .*PointSorter", printed)
    assert re.search(r"prediction .*-> far", printed)


def test_the_teams_own_step_runs(printed):
    assert re.search(r"(?m)^ +Count  .*Succeeded", printed)
    assert "\ncounted: 48\n" in printed
    assert len(STEP.strip().splitlines()) < 15
