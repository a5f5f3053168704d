"""Experiment tracking with a real MLflow server, W&B offline, and services that are down or slow."""

import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import uuid
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from conftest import ROOT, wait_for

from build.template import load
from rehearsal.loopback import free_port
from rehearsal.server import ACCOUNT, REGION

PYTHON = ROOT / ".venv/tracking/bin/python"
SRC = ROOT / "seed_code/common"
KEY = "0123456789" * 4  # in the form of a W&B key

# Stands for train.py. Its arguments are steps to log, events ("killed", "halt", "go on"), or a status to finish with.
# state.json carries the tracker's state to the next process, as a checkpoint does.
TRAINING = """
import json, os, signal, sys
from pathlib import Path
from spotkit.training.tracking import Tracker

saved, report = Path("state.json"), Path("report.html")
report.write_text("<p>well")
tracker = Tracker("digits", {"epochs": 3}, json.loads(saved.read_text()) if saved.exists() else None)
for word in sys.argv[1:]:
    if word.isdigit():
        step = int(word)
        tracker.log({"epoch": step / 10, "train_loss": 1 / step, "validation_accuracy": 0.8123}, step)
        saved.write_text(json.dumps(tracker.state))
    elif word == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    elif word in ("halt", "go on"):
        os.killpg(int(os.environ["SERVER"]), signal.SIGSTOP if word == "halt" else signal.SIGCONT)
    else:
        tracker.finish(word, [report])
print("trained")
"""


@pytest.fixture
def train(tmp_path) -> Callable[..., subprocess.CompletedProcess]:
    """Return a function that runs TRAINING with these arguments in the test's folder, with a minimal environment."""

    def run(*words: str, **variables: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [PYTHON, "-c", TRAINING, *words],
            cwd=tmp_path,
            env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(SRC), **variables},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    return run


@dataclass(frozen=True)
class MlflowServer:
    """A running MLflow server and queries of its database. Each test uses an experiment of its own."""

    address: str
    pid: int
    folder: Path

    def runs(self, experiment: str) -> list[tuple[str, str]]:
        """Return name and status of the runs."""
        return self.ask("r.name, r.status from runs r", experiment)

    def parameters(self, experiment: str) -> list[tuple[str, str]]:
        return self.ask("key, value from params join runs r using (run_uuid)", experiment)

    def points(self, experiment: str) -> list[tuple[int, float]]:
        """Return step and value of the training loss, by step."""
        return sorted(self.ask("step, value from metrics m join runs r using (run_uuid)", experiment, "train_loss"))

    def ask(self, what: str, experiment: str, metric: str | None = None) -> list[tuple]:
        query = f"select {what} join experiments e using (experiment_id) where e.name = ?"  # noqa: S608
        query += " and m.key = ?" if metric else ""
        with closing(sqlite3.connect(self.folder / "mlflow.db")) as database:
            return database.execute(query, (experiment, metric) if metric else (experiment,)).fetchall()

    def requests(self) -> set[str]:
        """Return the API methods that were called, as in "runs/create"."""
        lines = (self.folder / "log").read_text().splitlines()
        return {line.split("/mlflow/")[1].split()[0].split("?")[0] for line in lines if "/api/2.0/mlflow/" in line}


@pytest.fixture(scope="module")
def mlflow(tmp_path_factory) -> Iterator[MlflowServer]:
    folder, port = tmp_path_factory.mktemp("server"), free_port()
    where = ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", str(folder / "files")]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [PYTHON, "-m", "mlflow", "server", *where, "--host", "127.0.0.1", "--port", str(port), "--workers", "1"],
            cwd=folder,
            env={"PATH": os.environ["PATH"], "HOME": str(folder), "MLFLOW_DISABLE_TELEMETRY": "true"},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def answers() -> bool:
        assert process.poll() is None, (folder / "log").read_text()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    try:
        wait_for(answers, seconds=60)
        yield MlflowServer(f"http://127.0.0.1:{port}", process.pid, folder)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    """Yield a listening socket that never responds."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.setblocking(False)
        yield listener


def address_of(listener: socket.socket) -> str:
    return f"127.0.0.1:{listener.getsockname()[1]}"


def test_mlflow_gets_a_run_with_its_parameters_its_points_and_its_files(mlflow, train, tmp_path):
    done = train("10", "20", "finished", MLFLOW_TRACKING_URI=mlflow.address, MLFLOW_EXPERIMENT_NAME="whole")

    assert done.stdout.splitlines()[:2] == [
        "epoch=1.00 train_loss=0.1000 validation_accuracy=0.8123",
        "epoch=2.00 train_loss=0.0500 validation_accuracy=0.8123",
    ]
    assert mlflow.runs("whole") == [("digits", "FINISHED")]
    assert mlflow.parameters("whole") == [("epochs", "3")]
    assert mlflow.points("whole") == [(10, 0.1), (20, 0.05)]
    (run,) = json.loads((tmp_path / "state.json").read_text()).values()
    assert [path.read_text() for path in mlflow.folder.glob(f"files/*/{run}/**/report.html")] == ["<p>well"]


def test_an_interrupted_run_goes_on_as_the_same_run_and_no_point_is_there_twice(mlflow, train):
    server = {"MLFLOW_TRACKING_URI": mlflow.address, "MLFLOW_EXPERIMENT_NAME": "interrupted"}
    killed = train("10", "20", "40", "killed", **server)
    stopped = train("20", "40", "50", "interrupted", **server)
    between = mlflow.runs("interrupted")
    finished = train("100", "finished", **server)

    assert [done.returncode for done in (killed, stopped, finished)] == [-signal.SIGKILL, 0, 0]
    assert (between, mlflow.runs("interrupted")) == ([("digits", "KILLED")], [("digits", "FINISHED")])
    assert mlflow.points("interrupted") == [(10, 0.1), (20, 0.05), (40, 0.025), (50, 0.02), (100, 0.01)]


def test_what_a_slow_server_missed_is_sent_when_it_answers_again(mlflow, train):
    brief = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "3", "MLFLOW_EXPERIMENT_NAME": "slow", "SERVER": str(mlflow.pid)}

    done = train("10", "halt", "20", "40", "go on", "finished", MLFLOW_TRACKING_URI=mlflow.address, **brief)

    assert done.stdout.count("warning: MLflow does not track this: MlflowException: API request to") == 1
    assert mlflow.runs("slow") == [("digits", "FINISHED")]
    # The request that timed out is still queued at the server, which stores the same point only once.
    assert mlflow.points("slow") == [(10, 0.1), (20, 0.05), (40, 0.025)]


def test_a_server_that_sagemaker_manages_is_named_by_its_arn(mlflow, train):
    """The plugin signs and routes the requests; only the URL that it derives from the ARN is replaced."""
    arn = "arn:aws:sagemaker:us-east-1:111122223333:mlflow-app/app-ABC"
    aws = {"AWS_ACCESS_KEY_ID": "unused", "AWS_SECRET_ACCESS_KEY": "unused", "MLFLOW_EXPERIMENT_NAME": "managed"}

    done = train("10", MLFLOW_TRACKING_URI=arn, SAGEMAKER_MLFLOW_CUSTOM_ENDPOINT=mlflow.address, **aws)

    assert (done.stdout.splitlines()[-1], done.stdout.count("warning")) == ("trained", 0)
    assert mlflow.points("managed") == [(10, 0.1)]


def policy_of_the_pipeline_role(name: str, project: str) -> dict:
    """Return a policy of the pipeline role, with the template's variables filled in for a project."""
    policies = load("project.yaml")["Resources"]["PipelineRole"]["Properties"]["Policies"]
    own = [policy for policy in policies if isinstance(policy, dict)]  # a policy behind !If loads as a list
    (document,) = [policy["PolicyDocument"] for policy in own if policy["PolicyName"] == name]
    text = json.dumps(document).replace("${SageMakerProjectId}", project).replace("${AWS::Partition}", "aws")
    return json.loads(text.replace("${AWS::Region}", REGION).replace("${AWS::AccountId}", ACCOUNT))


@pytest.fixture
def as_pipeline(emulator, make_role, as_role) -> Callable[[str], dict[str, str]]:
    """Return a function that returns the environment of a project's job, whose role may read its secrets."""

    def variables(project: str) -> dict[str, str]:
        name = f"pipeline-{uuid.uuid4().hex[:8]}"
        role = make_role(name, "sagemaker")
        policy = json.dumps(policy_of_the_pipeline_role("secretsmanager", project))
        emulator.client("iam").put_role_policy(RoleName=name, PolicyName="secretsmanager", PolicyDocument=policy)
        return emulator.environment(as_role(role))

    return variables


def test_the_jobs_role_may_call_what_tracking_calls_and_no_more(mlflow, train):
    train("10", "killed", MLFLOW_TRACKING_URI=mlflow.address, MLFLOW_EXPERIMENT_NAME="permitted")
    train("20", "finished", MLFLOW_TRACKING_URI=mlflow.address, MLFLOW_EXPERIMENT_NAME="permitted")
    actions = {
        "experiments/create": "CreateExperiment",
        "experiments/get": "GetExperiment",
        "experiments/get-by-name": "GetExperimentByName",
        "metrics/get-history": "GetMetricHistory",
        "runs/create": "CreateRun",
        "runs/get": "GetRun",
        "runs/log-batch": "LogBatch",
        "runs/update": "UpdateRun",
    }

    statements = policy_of_the_pipeline_role("sagemaker-mlflow", "p-1")["Statement"]
    allowed = [statement["Action"] for statement in statements if statement["Sid"] == "LogRuns"]
    assert [{f"sagemaker-mlflow:{actions[request]}" for request in mlflow.requests()}] == [set(allowed[0])]


def test_wandb_offline_writes_its_files_and_reaches_out_to_nobody(train, tmp_path, silent):
    done = train("10", "finished", WANDB_MODE="offline", HTTPS_PROXY=f"http://{address_of(silent)}")

    (run,) = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    assert done.stdout.splitlines() == ["epoch=1.00 train_loss=0.1000 validation_accuracy=0.8123", "trained"]
    assert b"validation_accuracy" in run.read_bytes()
    assert b"0.8123" in run.read_bytes()
    assert (run.parent / "files/report.html").read_text() == "<p>well"
    with pytest.raises(BlockingIOError):
        silent.accept()


def test_wandb_goes_on_with_the_run_that_was_interrupted(train, tmp_path):
    train("10", "interrupted", WANDB_MODE="offline")
    train("20", "finished", WANDB_MODE="offline")

    state = json.loads((tmp_path / "state.json").read_text())
    # offline-run-<time>-<id>, with a number appended if two start in the same second
    runs = [path.name.split("-")[3] for path in tmp_path.glob("wandb/offline-run-*")]
    assert runs == 2 * [state["Weights & Biases"]]


def test_services_that_are_down_or_silent_cost_a_line_each_and_no_password_is_shown(train, silent):
    done = train(
        *("10", "20", "finished"),
        MLFLOW_TRACKING_URI=f"http://ann:sesame@127.0.0.1:{free_port()}",
        WANDB_BASE_URL=f"http://{address_of(silent)}",
        WANDB_API_KEY=KEY,
    )

    warnings = [line for line in done.stdout.splitlines() if line.startswith("warning: ")]
    assert [line.split(" does not track this: ")[0] for line in warnings] == [
        "warning: MLflow",
        "warning: Weights & Biases",
    ]
    assert done.stdout.splitlines()[2:] == [
        "epoch=1.00 train_loss=0.1000 validation_accuracy=0.8123",
        "epoch=2.00 train_loss=0.0500 validation_accuracy=0.8123",
        "trained",
    ]
    assert "sesame" not in done.stdout + done.stderr
    assert KEY not in done.stdout + done.stderr
    assert silent.accept()  # W&B did connect


@pytest.fixture
def wandb_server() -> Iterator[HTTPServer]:
    """Yield a server that records the Authorization header of each POST and refuses it with 401."""

    class Refusal(BaseHTTPRequestHandler):
        def do_POST(self):
            server.callers.append(self.headers["Authorization"])
            self.send_error(401)

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Refusal)
    server.callers = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()


def test_the_key_of_wandb_comes_from_a_secret_of_the_project_and_is_written_nowhere(
    emulator, as_pipeline, wandb_server, train, tmp_path
):
    emulator.client("secretsmanager").create_secret(Name="sagemaker-p-1/wandb", SecretString=f"{KEY}\n")

    server = {"WANDB_BASE_URL": f"http://127.0.0.1:{wandb_server.server_port}"}
    done = train("10", "finished", WANDB_SECRET="sagemaker-p-1/wandb", **as_pipeline("p-1"), **server)

    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert set(wandb_server.callers) == {"Basic " + b64encode(f"api:{KEY}".encode()).decode()}
    assert written
    assert not [path for path in written if KEY.encode() in path.read_bytes()]
    assert KEY not in done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "trained"


def test_a_secret_of_another_project_is_not_read_and_training_goes_on(emulator, as_pipeline, train):
    emulator.client("secretsmanager").create_secret(Name="sagemaker-p-12/wandb", SecretString=KEY)

    done = train("10", WANDB_SECRET="sagemaker-p-12/wandb", **as_pipeline("p-1"))

    warning, _, last = done.stdout.splitlines()
    assert warning.startswith("warning: Weights & Biases does not track this: ClientError: An error occurred (AccessDe")
    assert last == "trained"


def test_packages_that_cannot_be_installed_do_not_stop_the_job(tmp_path):
    shutil.copytree(SRC / "spotkit", tmp_path / "spotkit")
    shutil.copy(SRC / "src/requirements.txt", tmp_path)
    (tmp_path / "train.py").write_text("print('trained')")

    variables = {"MLFLOW_TRACKING_URI": "http://127.0.0.1", "PIP_NO_INDEX": "1"}
    done = subprocess.run(
        [sys.executable, tmp_path / "spotkit/jobs/start.py", "train.py"],
        env=variables,
        capture_output=True,
        text=True,
        check=False,
    )

    installing, warning, last = done.stdout.splitlines()
    assert installing.startswith("installing mlflow-skinny==")
    assert "," not in installing
    assert warning.startswith("warning: what tracks training was not installed: Command ")
    assert last == "trained"
