"""The training toolkit of AWS's framework images, as far as our jobs need it: it starts the script of a tuning's jobs.

It unpacks the archive that the hyperparameter sagemaker_submit_directory names, describes the job in SM_* variables, and
runs sagemaker_program with the other hyperparameters as arguments, as the original does
(github.com/aws/sagemaker-training-toolkit: params.py, environment.py, mapping.py). It installs nothing: the packages in
requirements.txt must be there. Runs in the jobs' environment, as the container's first process.
"""

import json
import os
import signal
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

ML = Path(os.environ.get("OPT_ML", "/opt/ml"))
CODE = ML / "code"
PREFIX, TUNING_METRIC = "sagemaker_", "_tuning_objective_metric"  # hyperparameters that the script does not get


def read(name: str) -> dict[str, Any]:
    """Return a JSON file of /opt/ml/input/config."""
    return json.loads((ML / "input/config" / f"{name}.json").read_text())


def decode(text: str) -> Any:
    """Return a hyperparameter's value: decoded from JSON, or the text itself if it is not JSON."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def encode(value: Any) -> str:
    """Return a value as the toolkit writes it into an environment variable."""
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, separators=(",", ":"))


def unpack(path: Path) -> None:
    """Unpack the archive into /opt/ml/code. Raises ValueError for a member that is not a plain file.

    The original accepts any member, and also an archive in S3. Code of ours that comes to need either fails here first.
    """
    CODE.mkdir(exist_ok=True)
    with tarfile.open(path) as archive:
        for member in archive:
            if not member.isfile():
                raise ValueError(f"{path}: member {member.name!r} is not a plain file.")
            archive.extract(member, CODE, filter="data")


def variables(told: dict[str, Any], hyperparameters: dict[str, Any], arguments: list[str]) -> dict[str, str]:
    """Return the SM_* variables that describe the job to the script."""
    resources, channels = read("resourceconfig"), sorted(read("inputdataconfig"))
    facts = {
        "hosts": resources["hosts"],
        "current_host": resources["current_host"],
        "network_interface_name": resources["network_interface_name"],
        "num_cpus": os.cpu_count(),
        "num_gpus": len(list(Path("/proc/driver/nvidia/gpus").glob("*"))),
        "input_dir": str(ML / "input"),
        "input_config_dir": str(ML / "input/config"),
        "model_dir": str(ML / "model"),
        "output_dir": str(ML / "output"),
        "output_data_dir": str(ML / "output/data"),
        "module_dir": told["sagemaker_submit_directory"],
        "module_name": Path(told["sagemaker_program"]).stem,
        "user_entry_point": told["sagemaker_program"],
        "user_args": arguments,
        "channels": channels,
        "hps": hyperparameters,
        **{f"channel_{name}": str(ML / "input/data" / name) for name in channels},
        **{f"hp_{name}": value for name, value in hyperparameters.items()},
    }
    return {f"SM_{name.upper()}": encode(value) for name, value in facts.items()}


def main() -> int:
    # Like the original, do not forward SIGTERM: the script does not learn of a spot interruption
    # (github.com/aws/sagemaker-training-toolkit, issues 125 and 173).
    signal.signal(signal.SIGTERM, lambda *_: None)
    given = {name: decode(value) for name, value in read("hyperparameters").items()}
    told = {name: value for name, value in given.items() if name.startswith(PREFIX)}
    hyperparameters = {name: value for name, value in given.items() if name not in (*told, TUNING_METRIC)}
    arguments = [text for name in sorted(hyperparameters) for text in (f"--{name}", str(hyperparameters[name]))]
    unpack(Path(told["sagemaker_submit_directory"].replace("/opt/ml", str(ML))))
    command = [sys.executable, told["sagemaker_program"], *arguments]
    environment = {
        **os.environ,
        **variables(told, hyperparameters, arguments),
        "PYTHONPATH": str(CODE),
    }
    print(f"Invoking script with the following command:\n{' '.join(command)}", flush=True)
    code = subprocess.call(command, cwd=CODE, env=environment)
    failure = ML / "output/failure"
    if code and not failure.exists():
        failure.write_text(f"ExecuteUserScriptError: ExitCode {code}")
    return code


if __name__ == "__main__":
    sys.exit(main())
