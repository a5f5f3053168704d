"""Interrupted training ends with the same weights: a sample of the runs of `make prove`, and SIGTERM to PID 1."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.interruptions import make_ready, storm

ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}  # the models are small: more threads would only contend


@pytest.mark.parametrize("variant, workers, model", [("nlp", 2, ""), ("nlp", 0, "ngrams"), ("cv", 0, "")])
def test_a_run_that_is_killed_and_whose_checkpoints_are_damaged_ends_with_the_same_weights(
    variant, workers, model, tmp_path
):
    score = storm(make_ready(variant, workers, tmp_path, model), kills=3, chance=random.Random(5), damage=True)

    assert score.runs >= 1
    assert score.identical == score.runs
    assert sum(score.signals.values()) == 3
    assert score.resumed


def test_the_signal_reaches_the_entrypoint_as_pid_1_and_no_step_is_lost(tmp_path):
    """start.py execs train.py, which is PID 1 of its namespace, as in a container; SIGTERM comes from outside."""
    command = ["unshare", "--map-root-user", "--pid", "--fork", "--kill-child", "--mount-proc"]
    if not shutil.which("unshare") or subprocess.run([*command, "true"], capture_output=True).returncode:
        pytest.skip("this kernel permits no PID namespaces")
    repository = make_ready("nlp", 0, tmp_path)
    output = tmp_path / "out"
    arguments = ["--train", "prepared/train", "--validation", "prepared/validation", "--output", str(output)]
    start = [sys.executable, "spotkit/jobs/start.py", "training.train", *arguments]
    process = subprocess.Popen(
        [*command, *start],
        cwd=repository,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    said = []
    for line in process.stdout:
        said.append(line)
        if line.startswith("epoch=2"):
            os.kill(child_of(process.pid), signal.SIGTERM)
            asked = time.monotonic()
            break
    said += process.stdout.readlines()
    seconds = time.monotonic() - asked
    process.wait()

    saved = next(line for line in said if line.startswith("interrupted: checkpoint saved at step "))
    step = int(saved.rsplit(" ", 1)[1])
    resumed = subprocess.run(start, cwd=repository, env=ENVIRONMENT, capture_output=True, text=True, check=True).stdout
    assert f"resuming at step {step}\n" in resumed
    assert "the best epoch is" in resumed
    assert seconds < 60  # SageMaker gives 120 before SIGKILL


def child_of(pid: int) -> int:
    """Return the only child of a process: the one that `unshare --fork` started."""
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


def test_a_checkpoint_that_cannot_be_written_costs_a_line_and_not_the_training(tmp_path):
    repository = make_ready("nlp", 0, tmp_path)
    # The limit lets the weights be written, but not the optimizer's state, which is twice as large. With SIGXFSZ
    # ignored, a write beyond the limit raises OSError.
    program = """
import resource, runpy, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (900_000, resource.RLIM_INFINITY))
sys.argv = sys.argv[1:]
runpy.run_module("spotkit.training.train", run_name="__main__")
"""
    data = ["--train", "prepared/train", "--validation", "prepared/validation", "--output", str(tmp_path / "out")]

    done = subprocess.run(
        [sys.executable, "-c", program, "train.py", *data],
        cwd=repository,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stderr
    assert "a checkpoint could not be written" in done.stdout
    assert (tmp_path / "out/model/model.safetensors").exists()
