"""Several processes come to what one comes to: training under torchrun, preprocessing on several instances."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from build.assemble import assemble, edit_settings, write
from rehearsal.loopback import free_port

SMALL = {"model": {"config": {"n_layers": 1, "n_heads": 2, "dim": 64, "hidden_dim": 64, "dropout": 0.0}}}


@pytest.fixture(scope="module")
def repository(tmp_path_factory) -> Path:
    """A landed repository with a small model, its sample in six files, and what one instance prepares of them."""
    folder = tmp_path_factory.mktemp("nlp") / "landed"
    write(assemble("nlp"), folder)
    edit_settings(folder / "settings.toml", SMALL)
    header, *rows = (folder / "sample/messages.csv").read_text().splitlines()
    (folder / "shards").mkdir()
    for number in range(6):
        (folder / f"shards/{number}.csv").write_text("\n".join([header, *rows[number::6], ""]))
    run(folder, "src/preprocess.py", "--data", "shards", "--output", "prepared")
    return folder


def run(repository: Path, *command: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, *command], cwd=repository, env=os.environ | environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def train(repository: Path, output: str, *launch: str) -> tuple[dict, str]:
    """Train four epochs; answers the last entry of the history and what was said."""
    said = run(
        repository, *launch, "src/train.py", "--epochs", "4", "--train", "prepared/train",
        "--validation", "prepared/validation", "--output", output, OMP_NUM_THREADS="1",
    )  # fmt: skip
    return json.loads((repository / output / "plots/history.json").read_text())[-1], said


def test_two_processes_reach_the_metrics_of_one(repository):
    launch = ("-m", "torch.distributed.run", "--nproc-per-node=2", f"--master-port={free_port()}")

    one, _ = train(repository, "one")
    two, said = train(repository, "two", *launch)

    assert said.count("epoch=4.00") == 2  # the last epoch and the best, from one process alone
    # Without dropout both make the same steps, up to the order in which numbers are added.
    assert (one["step"], two["step"]) == (80, 80)
    for name in ("train_loss", "validation_loss"):
        assert two[name] == pytest.approx(one[name], rel=0.02)
    assert two["validation_accuracy"] == pytest.approx(one["validation_accuracy"], abs=0.03)


def test_two_hosts_find_each_other_by_the_names_that_sagemaker_gives(repository):
    hosts = ["127.0.0.1", "127.0.0.2"]
    arguments = ["train.py", "--epochs", "1", "--train", "prepared/train", "--validation", "prepared/validation"]
    started = [
        subprocess.Popen(
            [sys.executable, "src/start.py", *arguments, "--output", f"host-{number}"],
            cwd=repository,
            env=os.environ | {"SM_HOSTS": json.dumps(hosts), "SM_CURRENT_HOST": host, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for number, host in enumerate(hosts)
    ]

    said = [process.communicate(timeout=120)[0] for process in started]

    assert [process.returncode for process in started] == [0, 0], said
    assert "the best epoch is 1 of 1" in said[0]
    assert "epoch" not in said[1]
    assert (repository / "host-0/model/model.safetensors").exists()
    assert not (repository / "host-1").exists()


def test_two_instances_prepare_what_one_prepares(repository, tmp_path):
    hosts = ["127.0.0.1", "127.0.0.2"]
    for number in range(6):  # as ShardedByS3Key hands files out
        share = tmp_path / f"data-{number % 2}"
        share.mkdir(exist_ok=True)
        shutil.copy(repository / f"shards/{number}.csv", share)
    started = [
        subprocess.Popen(
            [sys.executable, "src/preprocess.py", "--data", tmp_path / f"data-{number}", "--output", tmp_path / "both"],
            cwd=repository,
            env=os.environ | {"SM_HOSTS": json.dumps(hosts), "SM_CURRENT_HOST": host},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for number, host in enumerate(hosts)
    ]
    said = [process.communicate(timeout=120)[0] for process in started]

    assert [process.returncode for process in started] == [0, 0], said
    program = """
import json, sys, pathlib
sys.path.insert(0, "src")
from examples import Prepared
for name in ("train", "validation", "test"):
    split = Prepared(pathlib.Path(sys.argv[1]) / name)
    print(json.dumps([split[i] for i in range(len(split))]))
"""
    one, both = (run(repository, "-c", program, folder) for folder in ("prepared", str(tmp_path / "both")))
    assert one == both
    facts = [
        json.loads((folder / "report/data.json").read_text()) for folder in (repository / "prepared", tmp_path / "both")
    ]
    assert facts[0] == facts[1]
    assert np.sum([split["examples"] for split in facts[1]["splits"].values()]) == 480
