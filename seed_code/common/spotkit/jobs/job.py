"""The container contract: where a SageMaker job finds its inputs, and where it reports why it failed.

Training: https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-training-algo-running-container.html
Processing: https://docs.aws.amazon.com/sagemaker/latest/dg/build-your-own-processing-container.html
"""

import contextlib
import json
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import spotkit

OPT_ML = Path(os.environ.get("OPT_ML", "/opt/ml"))
ROOT = Path(spotkit.ROOT)  # the repository, or a job's code
# In a training job, and in a processing job.
RESOURCE_CONFIGS = (OPT_ML / "input/config/resourceconfig.json", OPT_ML / "config/resourceconfig.json")


def hyperparameters() -> dict[str, str]:
    """Return the job's hyperparameters, which SageMaker passes as strings; {} outside a training job."""
    path = OPT_ML / "input/config/hyperparameters.json"
    return json.loads(path.read_text()) if path.exists() else {}


def hosts() -> tuple[list[str], str]:
    """Return all hosts of the job, sorted, and this one: from SM_HOSTS if it is set, else from SageMaker's file."""
    if "SM_HOSTS" in os.environ:
        return sorted(json.loads(os.environ["SM_HOSTS"])), os.environ["SM_CURRENT_HOST"]
    for path in RESOURCE_CONFIGS:
        if path.exists():
            config = json.loads(path.read_text())
            return sorted(config["hosts"]), config["current_host"]
    return ["localhost"], "localhost"


def network_interface() -> str:
    """Return the interface by which this host reaches the job's others: the one in SageMaker's file, else eth0.

    https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-training-algo-running-container.html
    """
    for path in RESOURCE_CONFIGS:
        if path.exists() and (name := json.loads(path.read_text()).get("network_interface_name")):
            return name
    return "eth0"


def checkpoints() -> Path:
    """Return the folder of a training job's checkpoints; for a tuning job, a subfolder with the job's name.

    The jobs of a tuning share an address in S3. Whether SageMaker appends the job's name to it, AWS does not document
    (https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_HyperParameterTrainingJobDefinition.html). With
    subfolders, a job finds its own checkpoints and no others in either case. The hyperparameter, which SageMaker adds,
    is the mark of a tuning job.
    """
    folder = OPT_ML / "checkpoints"
    return folder / os.environ["TRAINING_JOB_NAME"] if "_tuning_objective_metric" in hyperparameters() else folder


def python_files() -> dict[str, Path]:
    """Return the Python files that a model's archive needs, by their path in it: the team's modules and spotkit."""
    team = ROOT / "src" if (ROOT / "src").is_dir() else ROOT
    package = {str(path.relative_to(ROOT)): path for path in sorted((ROOT / "spotkit").rglob("*.py"))}
    return package | {str(path.relative_to(team)): path for path in sorted(team.rglob("*.py"))}


def report_failure(message: str) -> None:
    """Write the reason where SageMaker looks for it: `failure` for training, `message` for processing jobs."""
    output = OPT_ML / "output"
    if OPT_ML.exists():
        output.mkdir(exist_ok=True)
        for name in ("failure", "message"):
            # "x" keeps the first failure: other processes only report its consequence.
            # Bytes, with replacements: a file's name in the message may not be UTF-8, and the job's locale may be C.
            with contextlib.suppress(FileExistsError), (output / name).open("xb") as file:
                file.write(message[:1024].encode(errors="replace"))


def run(main: Callable[[], None]) -> None:
    """Run `main`, and report a failure on the job's page.

    What a user can correct (ValueError, FileNotFoundError) ends in one line, anything else in its traceback.
    """
    try:
        main()
    except (ValueError, FileNotFoundError) as error:
        report_failure(str(error))
        print(f"error: {error}", file=sys.stderr, flush=True)
        sys.exit(1)
    except Exception:
        report_failure(traceback.format_exc(limit=-3))
        raise
