"""Report how training goes: to standard output always, to MLflow and Weights & Biases (W&B) if they are set.

    tracker = Tracker("my-run", {"epochs": 3}, resumed=state_of_the_interrupted_run)
    tracker.log({"epoch": 1.0, "train_loss": 0.51}, step=100)
    tracker.finish("finished", [Path("training.png")])

The settings are environment variables, which pipeline.py sets from [tracking] in settings.toml:
MLflow: MLFLOW_TRACKING_URI, the address of a server, or the ARN of one that SageMaker manages.
W&B:    WANDB_SECRET, the name of the secret with its key; on a laptop WANDB_API_KEY, or WANDB_MODE=offline.
"""

import os
import re
import secrets
import time
from collections.abc import Sequence
from pathlib import Path

# The metrics of an epoch, and the regular expressions by which SageMaker finds them in the log.
METRICS = {
    name: f"{name}=([0-9.eE+-]+)"
    for name in ("train_loss", "validation_loss", "validation_accuracy", "validation_macro_f1")
}
ANSWER_SECONDS = 10  # timeout for each of two attempts to reach a service
UPLOAD_SECONDS = 30  # timeout for what W&B has not uploaded when the run ends
PAUSE_SECONDS = 600  # before a service that failed is tried again


class Service:
    """A run at a tracking service, and the metrics not sent to it yet. Subclasses implement begin, send and end."""

    name: str

    def __init__(self, run_name: str, parameters: dict[str, object], run_id: str | None):
        self.run_name, self.parameters, self.run_id = run_name, parameters, run_id
        self.resumed = run_id is not None
        self.unsent: list[tuple[dict[str, float], int, float]] = []  # figures, step, time
        self.begun = self.failing = False
        self.failed_at = -float("inf")


class Mlflow(Service):
    name = "MLflow"

    @staticmethod
    def is_set() -> bool:
        return bool(os.environ.get("MLFLOW_TRACKING_URI"))

    def begin(self) -> None:
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", str(ANSWER_SECONDS))
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        # The job's role may not write to a managed server's bucket; the server presigns the upload's URL instead.
        os.environ.setdefault("SAGEMAKER_PRESIGNED_URL_UPLOAD_ENABLED", "true")
        import mlflow

        self.mlflow, self.client, self.last_step = mlflow, mlflow.MlflowClient(), -1
        if self.resumed:
            self.client.update_run(self.run_id, status="RUNNING")
            # MLflow keeps every point that it gets: a step that is logged again after a resume would be there twice.
            logged = self.client.get_metric_history(self.run_id, "epoch")
            self.last_step = max((point.step for point in logged), default=-1)
            return
        if not self.run_id:
            experiment = mlflow.set_experiment(os.environ.get("MLFLOW_EXPERIMENT_NAME", "Default"))
            self.run_id = self.client.create_run(experiment.experiment_id, run_name=self.run_name).info.run_id
        mlflow.log_params(self.parameters, run_id=self.run_id)

    def send(self, figures: dict[str, float], step: int, at: float) -> None:
        if step > self.last_step:
            self.mlflow.log_metrics(figures, step=step, run_id=self.run_id, timestamp=int(at * 1000))

    def end(self, status: str, artifacts: Sequence[Path]) -> None:
        ended = {"finished": "FINISHED", "interrupted": "KILLED", "failed": "FAILED"}[status]
        self.client.set_terminated(self.run_id, ended)
        for path in artifacts:
            self.mlflow.log_artifact(str(path), run_id=self.run_id)


class WeightsAndBiases(Service):
    name = "Weights & Biases"

    @staticmethod
    def is_set() -> bool:
        has_key = bool(os.environ.get("WANDB_SECRET") or os.environ.get("WANDB_API_KEY"))
        return has_key or os.environ.get("WANDB_MODE") == "offline"

    def begin(self) -> None:
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        import wandb

        wandb.teardown()  # otherwise the run of a failed attempt counts as active
        self.run_id = self.run_id or secrets.token_hex(8)
        settings = wandb.Settings(
            api_key=key_of_wandb(),
            console="off",  # do not capture standard output
            silent=True,
            init_timeout=ANSWER_SECONDS,
            finish_timeout=UPLOAD_SECONDS,
            finish_timeout_raises=True,
        )
        # W&B itself drops steps that were logged before a resume.
        self.run = wandb.init(
            name=self.run_name, config=self.parameters, id=self.run_id, resume="allow", settings=settings
        )

    def send(self, figures: dict[str, float], step: int, at: float) -> None:
        self.run.log(figures, step=step)

    def end(self, status: str, artifacts: Sequence[Path]) -> None:
        for path in artifacts:
            self.run.save(path, base_path=path.parent, policy="now")
        if status == "interrupted":
            self.run.mark_preempting()
        self.run.finish(exit_code=0 if status == "finished" else 1)


def key_of_wandb() -> str | None:
    """Return the API key in the secret that WANDB_SECRET names.

    Return None if it is not set: W&B then finds a key itself, as on a laptop.
    """
    if not (secret := os.environ.get("WANDB_SECRET")):
        return None
    import boto3
    from botocore.config import Config

    brief = Config(connect_timeout=ANSWER_SECONDS, read_timeout=ANSWER_SECONDS, retries={"total_max_attempts": 2})
    client = boto3.client("secretsmanager", region_name=os.environ.get("AWS_REGION"), config=brief)
    return client.get_secret_value(SecretId=secret)["SecretString"].strip()


class Tracker:
    """Begins a run, or resumes the one whose `state` is passed as `resumed`. Only one process of a job tracks.

    No service can stop training: if one is down or slow, a line says why, and it gets what it missed later.
    """

    def __init__(self, run_name: str, parameters: dict[str, object], resumed: dict[str, str] | None = None):
        kinds = [kind for kind in (Mlflow, WeightsAndBiases) if kind.is_set()]
        self.services = [kind(run_name, parameters, (resumed or {}).get(kind.name)) for kind in kinds]
        for service in self.services:
            self.deliver(service)

    @property
    def state(self) -> dict[str, str]:
        """The ids of the runs, for a checkpoint: training that is resumed continues the same runs."""
        return {service.name: service.run_id for service in self.services if service.run_id}

    def log(self, figures: dict[str, float], step: int) -> None:
        """Print a line that pipeline.py's metric definitions match, and send the metrics.

        `figures` has "epoch", which may be a fraction; `step` counts batches and must increase.
        """
        say(figures)
        for service in self.services:
            service.unsent.append((figures, step, time.time()))
            if time.monotonic() - service.failed_at >= PAUSE_SECONDS:
                self.deliver(service)

    def finish(self, status: str, artifacts: Sequence[Path] = ()) -> None:
        """End the run as "finished", "interrupted" (it will be resumed) or "failed"; upload the `artifacts`."""
        for service in self.services:
            self.deliver(service, status, artifacts)

    def deliver(self, service: Service, *ending: object) -> None:
        """Send what a service has not got yet and, if `ending` is passed, end the run."""
        try:
            if not service.begun:
                service.begin()
                service.begun = True
            while service.unsent:
                service.send(*service.unsent[0])
                del service.unsent[0]
            if ending:
                service.end(*ending)
            service.failing = False
        except Exception as error:  # any error: tracking must not stop training
            if not service.failing:
                print(f"warning: {service.name} does not track this: {reason(error)}", flush=True)
            service.failing, service.failed_at = True, time.monotonic()


def say(figures: dict[str, float]) -> None:
    """Print metrics in a form that pipeline.py's metric definitions match."""
    line = " ".join(f"{name}={value:.{2 if name == 'epoch' else 4}f}" for name, value in figures.items())
    print(line, flush=True)


def reason(error: Exception) -> str:
    """Return an error in one line, without the password that an address may hold."""
    text = re.sub(r"//[^/\s]*@", "//", f"{type(error).__name__}: {error}")
    return text.splitlines()[0][:400]
