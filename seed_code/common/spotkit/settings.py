"""Read settings.toml, and report in one line what is wrong with it."""

import difflib
import json
import re
import tomllib
from pathlib import Path
from typing import Any

# Every key that a team may set, with its type. The keys of [task] are in SETTINGS of src/task.py.
KNOWN: dict[str, dict[str, type | tuple[type, ...]]] = {
    "data": {
        "source": str,
        "columns": list,
        "label": str | list,
        "problem": str,
        "positive": str,
        "label_separator": str,
        "labels": dict,
        "balance": bool,
        "unreadable_share": float,
        "min_examples": int,
        "split": str,
        "group": str,
        "limit": int,
        "validation_share": float,
        "test_share": float,
        "seed": int,
    },
    "task": {},
    "model": {"name": str, "weights": str, "freeze": bool, "config": dict},
    "training": {
        "epochs": int,
        "batch_size": int,
        "accumulate": int,
        "learning_rate": float,
        "weight_decay": float,
        "warmup_share": float,
        "schedule": str,
        "class_weights": str | dict,
        "label_smoothing": float,
        "patience": int,
        "seed": int,
        "precision": str,
        "compile": str,
        "workers": int,
        "checkpoint_seconds": int,
    },
    "tuning": {
        "jobs": int,
        "parallel_jobs": int,
        "objective": str,
        "strategy": str,
        "early_stopping": bool,
        "ranges": dict,
    },
    "gate": {"metric": str, "threshold": float, "allowed_drop": float, "not_below_baseline": bool},
    "compute": {
        "mode": str,
        "processing_instance_type": str,
        "processing_instance_count": int,
        "training_instance_type": str,
        "training_instance_count": int,
        "volume_gb": int,
        "max_run_hours": int,
        "max_wait_hours": int,
    },
    "tracking": {"mlflow": str, "wandb_project": str, "wandb_secret": str},
}
CHOICES = {
    ("data", "problem"): ("binary", "multi_class", "multi_label"),
    ("training", "schedule"): ("linear", "cosine"),
    ("training", "precision"): ("auto", "float32", "bfloat16", "float16"),
    ("training", "compile"): ("auto", "always", "never"),
    ("tuning", "objective"): ("validation_macro_f1", "validation_accuracy", "validation_loss"),
    ("tuning", "strategy"): ("Bayesian", "Random"),
    ("gate", "metric"): (
        "accuracy", "macro_f1", "micro_f1", "macro_recall", "f1", "precision", "recall", "roc_auc", "average_precision",
    ),
    ("compute", "mode"): ("spot", "on_demand", "compare"),
}  # fmt: skip
RANGES = {
    ("data", "unreadable_share"): (0.0, 1.0),
    ("data", "min_examples"): (1, 1_000_000),
    ("data", "limit"): (0, 2**31 - 1),
    ("data", "validation_share"): (0.01, 0.4),
    ("data", "test_share"): (0.01, 0.4),
    ("data", "seed"): (0, 2**32 - 1),
    ("training", "epochs"): (1, 10_000),
    ("training", "batch_size"): (1, 65_536),
    ("training", "accumulate"): (1, 1024),
    ("training", "learning_rate"): (1e-9, 10.0),
    ("training", "weight_decay"): (0.0, 1.0),
    ("training", "warmup_share"): (0.0, 0.9),
    ("training", "label_smoothing"): (0.0, 0.5),
    ("training", "patience"): (0, 10_000),
    ("training", "seed"): (0, 2**32 - 1),
    ("training", "workers"): (0, 64),
    ("training", "checkpoint_seconds"): (1, 86_400),
    ("tuning", "jobs"): (0, 500),
    ("tuning", "parallel_jobs"): (1, 100),
    ("gate", "threshold"): (0.0, 1.0),
    ("gate", "allowed_drop"): (0.0, 1.0),
    ("compute", "processing_instance_count"): (1, 64),
    ("compute", "training_instance_count"): (1, 64),
    ("compute", "volume_gb"): (1, 16_384),
    ("compute", "max_run_hours"): (1, 120),
    ("compute", "max_wait_hours"): (1, 240),
}
# The keys of [training] that [tuning.ranges] may search.
TUNABLE = ("learning_rate", "weight_decay", "warmup_share", "batch_size", "epochs")

MLFLOW_ADDRESS = r"https?://\S+|arn:aws[a-z-]*:sagemaker:[a-z0-9-]+:[0-9]{12}:mlflow-(app|tracking-server)/\S+"

Settings = dict[str, dict[str, Any]]


def load(code: Path = Path(__file__).parent) -> Settings:
    """Return the settings in `settings.json` (the part that travels with a job's code), else in `../settings.toml`.

    Raise ValueError if the file is not TOML, or if a section, key, type or value is invalid.
    """
    shipped = code / "settings.json"
    if shipped.exists():
        return json.loads(shipped.read_text())
    path = code.parent / "settings.toml"
    try:
        settings = tomllib.loads(path.read_text(encoding="utf-8-sig"))  # Windows editors may write a byte order mark
    except UnicodeDecodeError as error:
        raise ValueError(f"{path.name} is not UTF-8: {error}. Save it as UTF-8.") from error
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path.name} is not valid TOML: {error}. Correct that line.") from error
    check(settings)
    return settings


def check(settings: Settings) -> None:
    """Raise ValueError for the first section, key, type or value that is invalid."""
    for section, values in settings.items():
        check_name("section", f"[{section}]", [f"[{name}]" for name in KNOWN])
        if section != "task":
            check_section(section, values, KNOWN[section])
        elif not isinstance(values, dict):
            raise ValueError(f"settings.toml: task is {values!r}, not a section. Write [task] on a line of its own.")
    for section in KNOWN:
        if section not in settings:
            raise ValueError(f"settings.toml has no [{section}] section. Add it; the seed's settings.toml shows how.")
    for raw, name in settings["data"]["labels"].items():
        if not isinstance(name, str) or not name:
            raise ValueError(f'[data.labels] {raw} is {name!r}. Give the name of a class, as in: {raw} = "good".')
    check_problem(settings["data"], settings["gate"]["metric"])
    check_class_weights(settings["training"]["class_weights"])
    check_tuning(settings)
    weights = settings["model"]["weights"]
    if weights not in ("scratch", "hub") and not weights.startswith(("s3://", "/")):
        raise ValueError(
            f"[model] weights is {weights!r}. Choose scratch, hub, or the s3:// address of a folder; "
            "on this machine alone, its path from / on."
        )
    if settings["model"]["freeze"] and weights == "scratch":
        raise ValueError(
            "[model] freeze is true, and weights is scratch: all but the last layer would stay random. Set one of them."
        )
    if settings["compute"]["max_wait_hours"] < settings["compute"]["max_run_hours"]:
        raise ValueError(
            f"[compute] max_wait_hours is {settings['compute']['max_wait_hours']}, less than max_run_hours "
            f"({settings['compute']['max_run_hours']}). Spot waits count the run itself: make it at least as long."
        )
    check_tracking(settings["tracking"])


def check_problem(data: dict[str, Any], metric: str) -> None:
    """Raise ValueError for settings that are invalid or do not fit [data] problem."""
    problem, label = data["problem"], data["label"]
    names = [label] if isinstance(label, str) else label
    if not names or not all(isinstance(name, str) and name for name in names) or len(set(names)) < len(names):
        raise ValueError(f'[data] label is {label!r}. Name a column, or one for each label: ["toxic", "insult"].')
    columns = data["columns"]
    if not all(isinstance(name, str) and name for name in columns) or len(set(columns)) < len(columns):
        raise ValueError(f'[data] columns is {columns!r}. Name each column of the file once: ["label", "text"].')
    if isinstance(label, list) and problem != "multi_label":
        raise ValueError(f"[data] label names {len(label)} columns, and problem is {problem}. Set it to multi_label.")
    if problem == "multi_label" and data["balance"]:
        raise ValueError("[data] balance is true, which is for one label an example. Set it to false for multi_label.")
    if problem != "binary" and data["positive"]:
        raise ValueError(f"[data] positive is {data['positive']!r}, and problem is {problem}. Only binary has one.")
    if problem != "binary" and metric in ("f1", "precision", "recall"):
        raise ValueError(f"[gate] metric is {metric!r}, which is for binary. Take macro_f1 or macro_recall.")


def check_class_weights(weights: str | dict[str, Any]) -> None:
    """Raise ValueError for invalid weights. Whether the classes exist is checked in training, which reads the data."""
    if isinstance(weights, str) and weights not in ("none", "balanced"):
        raise ValueError(
            f'[training] class_weights is {weights!r}. Choose none, balanced, or weights by class: {{ "spam" = 5.0 }}.'
        )
    for name, weight in weights.items() if isinstance(weights, dict) else ():
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight <= 1e6:
            raise ValueError(f"[training] class_weights: {name} has {weight!r}. Give a number above 0.")


def check_tuning(settings: Settings) -> None:
    """Raise ValueError for a range that cannot be searched, and for a search that [compute] does not allow."""
    tuning, mode = settings["tuning"], settings["compute"]["mode"]
    for name, values in tuning["ranges"].items():
        if name not in TUNABLE:
            raise ValueError(f"[tuning.ranges] {name} is nothing to search. Choose from: {', '.join(TUNABLE)}.")
        check_tuning_range(name, values)
    if tuning["jobs"] == 0:
        return
    if not tuning["ranges"]:
        raise ValueError(
            "[tuning] jobs is set, and [tuning.ranges] is empty. Say there what to search, or set jobs = 0."
        )
    if mode == "compare":
        raise ValueError(
            "[compute] mode is 'compare', which trains once on each. Set [tuning] jobs = 0, or another mode."
        )
    if settings["compute"]["training_instance_count"] > 1:
        raise ValueError(
            "[compute] training_instance_count is more than 1, and the jobs of [tuning] have one instance each."
        )
    if tuning["parallel_jobs"] > tuning["jobs"]:
        raise ValueError(
            f"[tuning] parallel_jobs is {tuning['parallel_jobs']}, more than jobs ({tuning['jobs']}). Make it at most that."
        )


def check_tuning_range(name: str, values: Any) -> None:
    """Raise ValueError unless `values` is [least, most] or a list of choices, within what [training] accepts."""
    kind = KNOWN["training"][name]
    if not isinstance(values, list) or len(values) < 2:
        raise ValueError(f"[tuning.ranges] {name} is {values!r}. Give [least, most], or a list to choose from.")
    numbers = []
    for value in values:
        try:
            numbers.append(kind(value) if isinstance(value, str) else value)
        except ValueError:
            raise ValueError(f"[tuning.ranges] {name} has {value!r}, which is no number. Correct it.") from None
        accepted = int if kind is int else (int, float)
        if not isinstance(numbers[-1], accepted) or isinstance(numbers[-1], bool):
            raise ValueError(f"[tuning.ranges] {name} has {value!r}, which is not of type {kind.__name__}. Correct it.")
        low, high = RANGES["training", name]
        if not low <= numbers[-1] <= high:
            raise ValueError(f"[tuning.ranges] {name} has {value}. It must be between {low} and {high}.")
    if is_interval(values) and not numbers[0] < numbers[1]:
        raise ValueError(f"[tuning.ranges] {name} goes from {values[0]} to {values[1]}. Put the lesser one first.")


def is_interval(values: list[Any]) -> bool:
    """Return whether a range is [least, most]: two numbers. Strings, or more than two numbers, are choices."""
    return len(values) == 2 and not any(isinstance(value, str) for value in values)


def check_section(section: str, values: dict[str, Any], known: dict[str, Any]) -> None:
    """Raise ValueError for a section with an unknown or missing key, or an invalid value."""
    if not isinstance(values, dict):
        raise ValueError(
            f"settings.toml: {section} is {values!r}, not a section. Write [{section}] on a line of its own."
        )
    for key, value in values.items():
        check_name("key", f"[{section}] {key}", [f"[{section}] {name}" for name in known])
        kind = known[key]
        accepted = (int, float) if kind is float else kind
        if not isinstance(value, accepted) or isinstance(value, bool) is not (kind is bool):
            raise ValueError(
                f"[{section}] {key} is {value!r}, which is not of type {getattr(kind, '__name__', kind)}. Correct it."
            )
        choices = CHOICES.get((section, key))
        if choices and value not in choices:
            raise ValueError(f"[{section}] {key} is {value!r}. Choose one of: {', '.join(choices)}.")
        check_range(section, key, value)
    missing = [key for key in known if key not in values]
    if missing:
        raise ValueError(f"settings.toml: [{section}] lacks {', '.join(missing)}. The seed's settings.toml shows how.")


def check_tracking(tracking: dict[str, str]) -> None:
    """Raise ValueError for an invalid address, a password that logs would show, or only one of W&B's settings."""
    address, project, secret = tracking["mlflow"], tracking["wandb_project"], tracking["wandb_secret"]
    if "@" in address:
        raise ValueError("[tracking] mlflow has a user or a password in it, which logs would show. Leave it out.")
    if address and not re.fullmatch(MLFLOW_ADDRESS, address):
        raise ValueError(
            f"[tracking] mlflow is {address!r}. Give the http:// or https:// address of a tracking server, "
            "or the ARN of an MLflow app or tracking server of SageMaker."
        )
    if bool(project) is not bool(secret):
        raise ValueError(
            f"[tracking] wandb_project is {project!r} and wandb_secret is {secret!r}. "
            "Name both, the project and the secret with the key for it, or neither."
        )


def check_range(section: str, key: str, value: Any) -> None:
    """Raise ValueError for a number out of range; the numbers of [task] are counts, so at least 0."""
    low, high = RANGES.get((section, key), (0 if section == "task" else float("-inf"), float("inf")))
    if isinstance(value, (int, float)) and not low <= value <= high:
        raise ValueError(f"[{section}] {key} is {value}. It must be between {low} and {high}.")


def check_name(what: str, name: str, known: list[str]) -> None:
    """Raise ValueError, with the closest known name, if `name` is not in `known`."""
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"Did you mean {near[0]}?" if near else f"Known: {', '.join(known)}."
        raise ValueError(f"settings.toml: unknown {what} {name}. {hint}")
