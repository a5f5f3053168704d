"""Install what requirements.txt lists and the image lacks, then replace this process with the named script.

This is the entrypoint of jobs, except for those of a tuning: `python3 spotkit/jobs/start.py training.train`, a module of
spotkit, or `... start.py src/own.py`, a script of the team. It uses exec, so that the script itself gets SageMaker's signals: SIGTERM announces a spot interruption. On several GPUs or instances it becomes
torchrun, which starts training once for each GPU and forwards the signal.
"""

import importlib.metadata
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[0] = str(ROOT)  # instead of this folder, whose modules are those of spotkit.jobs

from spotkit.jobs import job, meeting

TRAINING = "training.train"
PORT = 7777
TRACKING_SECONDS = 180  # timeout for installing the tracking packages


def name_of(requirement: str) -> str:
    """Return the package in a line of a requirements file, in lower case and with hyphens."""
    return re.split(r"[=<>~!\[; ]", requirement)[0].lower().replace("_", "-")


def missing(requirements: Path) -> list[str]:
    """Return the lines of a requirements file whose package is not installed in any version."""
    lines = [line.split("#")[0].strip() for line in requirements.read_text().splitlines()]
    installed = {dist.metadata["Name"].lower().replace("_", "-") for dist in importlib.metadata.distributions()}
    return [line for line in lines if line and name_of(line) not in installed]


def command(script: str, arguments: list[str]) -> list[str]:
    """Return the command for a module of spotkit or a script: torchrun for training on several GPUs or hosts."""
    hosts, current = job.hosts()
    gpus = len(list(Path("/proc/driver/nvidia/gpus").glob("*")))
    own = next((str(path) for path in (ROOT / script, ROOT / Path(script).name) if path.is_file()), script)
    run = [own] if script.endswith(".py") else ["-m", f"spotkit.{script}"]
    if script != TRAINING or (len(hosts) == 1 and gpus < 2):
        return [sys.executable, *run, *arguments]
    launch = ["-m", "torch.distributed.run", f"--nnodes={len(hosts)}", f"--node-rank={hosts.index(current)}"]
    launch += [f"--nproc-per-node={max(1, gpus)}", f"--master-addr={hosts[0]}", f"--master-port={PORT}"]
    launch += [f"--local-addr={current}"]  # torchrun would take the hostname, which is "aws" everywhere: see meeting.py
    return [sys.executable, *launch, *run, *arguments]


def tracking() -> list[str]:
    """Return the lines of requirements-tracking.txt that the job's variables call for and the image lacks."""
    mlflow, wandb = os.environ.get("MLFLOW_TRACKING_URI", ""), os.environ.get("WANDB_SECRET", "")
    asked = {
        "mlflow-skinny": mlflow,
        "sagemaker-mlflow": mlflow.startswith("arn:"),  # it complains about any other address
        "wandb": wandb,
        "boto3": wandb,
    }
    if not any(asked.values()):
        return []
    return [
        line
        for line in missing(Path(__file__).with_name("requirements-tracking.txt"))
        if asked.get(name_of(line), True)
    ]


def install(lines: list[str], **options: Any) -> None:
    """Install lines of a requirements file with pip."""
    if lines:
        print(f"installing {', '.join(lines)}", flush=True)
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-input", *lines]
        subprocess.run(command, check=True, **options)


if __name__ == "__main__":
    install(missing(next(path for path in (ROOT / "src/requirements.txt", ROOT / "requirements.txt") if path.exists())))
    try:
        install(tracking(), timeout=TRACKING_SECONDS)
    except subprocess.SubprocessError as error:  # training goes on without tracking
        print(f"warning: what tracks training was not installed: {error}", flush=True)
    meeting.join()
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    become = command(sys.argv[1], sys.argv[2:])
    os.execv(become[0], become)
