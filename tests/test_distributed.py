"""Several processes get the result of one: training under torchrun, preprocessing on several instances."""

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

SMALL = {
    "model": {
        "name": "distilbert",
        "config": {"n_layers": 1, "n_heads": 2, "dim": 64, "hidden_dim": 64, "dropout": 0.0},
    },
    "training": {"batch_size": 16},
}


@pytest.fixture(scope="module")
def repository(tmp_path_factory) -> Path:
    """Return an assembled repository with a small model, its sample in six files, and what one instance prepares."""
    folder = tmp_path_factory.mktemp("nlp") / "landed"
    write(assemble("nlp"), folder)
    edit_settings(folder / "settings.toml", SMALL)
    header, *rows = (folder / "sample/messages.csv").read_text().splitlines()
    (folder / "shards").mkdir()
    for number in range(6):
        (folder / f"shards/{number}.csv").write_text("\n".join([header, *rows[number::6], ""]))
    run(folder, "-m", "spotkit.data.preprocess", "--data", "shards", "--output", "prepared")
    return folder


def run(repository: Path, *command: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, *command], cwd=repository, env=os.environ | environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def train(repository: Path, output: str, *launch: str) -> tuple[dict, str]:
    """Train for four epochs; return the last entry of the history and the output."""
    said = run(
        repository, *launch, "-m", "spotkit.training.train", "--epochs", "4", "--train", "prepared/train",
        "--validation", "prepared/validation", "--output", output, OMP_NUM_THREADS="1",
    )  # fmt: skip
    return json.loads((repository / output / "plots/history.json").read_text())[-1], said


def test_two_processes_reach_the_metrics_of_one(repository):
    launch = ("-m", "torch.distributed.run", "--nproc-per-node=2", f"--master-port={free_port()}")

    one, _ = train(repository, "one")
    two, said = train(repository, "two", *launch)

    assert said.count("epoch=4.00") == 2  # for the last epoch and the best one, from one process only
    # Without dropout both take the same steps, up to the order of floating-point sums.
    assert (one["step"], two["step"]) == (80, 80)
    for name in ("train_loss", "validation_loss"):
        assert two[name] == pytest.approx(one[name], rel=0.02)
    assert two["validation_accuracy"] == pytest.approx(one["validation_accuracy"], abs=0.03)


def test_two_hosts_find_each_other_by_the_names_that_sagemaker_gives(repository):
    hosts = ["127.0.0.1", "127.0.0.2"]
    arguments = ["training.train", "--epochs", "1", "--train", "prepared/train", "--validation", "prepared/validation"]
    started = [
        subprocess.Popen(
            [sys.executable, "spotkit/jobs/start.py", *arguments, "--output", f"host-{number}"],
            cwd=repository,
            env=os.environ
            | {
                "SM_HOSTS": json.dumps(hosts),
                "SM_CURRENT_HOST": host,
                "OMP_NUM_THREADS": "1",
                "GLOO_SOCKET_IFNAME": "lo",
            },
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


def as_host(repository: Path, hosts: list[str], current: str, code: str, **environment: str) -> subprocess.Popen:
    """Start a program that imports meeting, as one host of a job."""
    return subprocess.Popen(
        [sys.executable, "-c", f"from spotkit.jobs import meeting; {code}"],
        cwd=repository,
        env=os.environ | {"SM_HOSTS": json.dumps(hosts), "SM_CURRENT_HOST": current} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


SHORT = f"meeting.PORT, meeting.SECONDS = {free_port()}, 2; meeting.join()"


def test_a_job_one_of_whose_hosts_does_not_come_fails_with_one_sentence(repository, tmp_path):
    hosts = ["127.0.0.1", "127.0.0.2", "127.0.0.3"]
    (tmp_path / "input/config").mkdir(parents=True)
    (tmp_path / "input/config/resourceconfig.json").write_text('{"network_interface_name": "lo"}')

    said = [
        as_host(repository, hosts, host, SHORT, OPT_ML=str(tmp_path)).communicate(timeout=60)[1]
        for host in (hosts[0], hosts[1])  # one after the other, so that they never meet
    ]

    where = "by interface lo, port"
    assert said[0].startswith(f"error: 127.0.0.2, 127.0.0.3 did not come to 127.0.0.1 within 2 s {where}")
    assert said[1].startswith(f"error: 127.0.0.2 waited 2 s for 127.0.0.1 {where}")
    assert [len(lines.splitlines()) for lines in said] == [1, 1]
    assert f"error: {(tmp_path / 'output/failure').read_text()}\n" == said[0]


def test_gloo_and_nccl_get_the_interface_that_sagemaker_names_unless_somebody_has_set_one(repository, tmp_path):
    hosts = ["127.0.0.1", "127.0.0.2"]
    (tmp_path / "config").mkdir()
    (tmp_path / "config/resourceconfig.json").write_text('{"network_interface_name": "lo"}')
    code = f"import os; meeting.PORT = {free_port()}; meeting.join(); print(os.environ['GLOO_SOCKET_IFNAME'], os.environ['NCCL_SOCKET_IFNAME'])"

    started = [
        as_host(repository, hosts, host, code, OPT_ML=str(tmp_path), **more)
        for host, more in zip(hosts, ({}, {"NCCL_SOCKET_IFNAME": "efa0"}), strict=True)
    ]

    assert [process.communicate(timeout=60)[0] for process in started] == ["lo lo\n", "lo efa0\n"]


def test_a_job_on_one_host_waits_for_nobody_and_sets_nothing(repository):
    code = "import os; meeting.join(); print('GLOO_SOCKET_IFNAME' in os.environ)"

    assert as_host(repository, ["algo-1"], "algo-1", code).communicate(timeout=60)[0] == "False\n"


def two_prepare(repository: Path, shards: Path, output: Path) -> None:
    """Preprocess a folder on two instances, each of which gets every other file, as with ShardedByS3Key."""
    hosts = ["127.0.0.1", "127.0.0.2"]
    for number, shard in enumerate(sorted(shards.iterdir())):
        share = output.with_name(f"{output.name}-data-{number % 2}")
        share.mkdir(exist_ok=True)
        shutil.copy(shard, share)
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "spotkit.data.preprocess", "--output", output]
            + ["--data", output.with_name(f"{output.name}-data-{number}")],
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


def prepared(repository: Path, folder: Path) -> tuple[dict, dict[str, list[dict]]]:
    """Return the data report and the examples of every split, in order."""
    program = """
import json, sys, pathlib
sys.path.insert(0, "src")
from spotkit.data.examples import Prepared
splits = {name: Prepared(pathlib.Path(sys.argv[1]) / name) for name in ("train", "validation", "test")}
print(json.dumps({name: [split[i] for i in range(len(split))] for name, split in splits.items()}))
"""
    splits = json.loads(run(repository, "-c", program, str(folder)))
    return json.loads((folder / "report/data.json").read_text()), splits


def test_two_instances_prepare_what_one_prepares(repository, tmp_path):
    two_prepare(repository, repository / "shards", tmp_path / "both")

    report, splits = prepared(repository, tmp_path / "both")
    assert (report, splits) == prepared(repository, repository / "prepared")
    assert np.sum([split["examples"] for split in report["splits"].values()]) == 480


def test_given_splits_and_groups_are_kept_by_two_instances_as_by_one(repository, tmp_path):
    landed = tmp_path / "landed"
    shutil.copytree(repository, landed, ignore=shutil.ignore_patterns("prepared", "shards"))
    edit_settings(landed / "settings.toml", {"data": {"split": "part", "group": "author"}})
    header, *rows = (landed / "sample/messages.csv").read_text().splitlines()
    (tmp_path / "shards").mkdir()
    for number in range(6):  # every author's rows are in several files; a fifth is given to test
        lines = [f"{row},{'test' if n % 50 < 10 else ''},{n % 50}" for n, row in enumerate(rows) if n % 6 == number]
        (tmp_path / f"shards/{number}.csv").write_text("\n".join([f"{header},part,author", *lines, ""]))
    run(landed, "-m", "spotkit.data.preprocess", "--data", str(tmp_path / "shards"), "--output", str(tmp_path / "one"))
    two_prepare(landed, tmp_path / "shards", tmp_path / "two")

    report, splits = prepared(landed, tmp_path / "two")
    assert (report, splits) == prepared(landed, tmp_path / "one")
    assert report["groups"] == {"column": "author", "count": 50}
    assert len(splits["test"]) == sum(n % 50 < 10 for n in range(len(rows)))
