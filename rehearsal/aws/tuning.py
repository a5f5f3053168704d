"""Hyperparameter tuning: a search in which each trial is a training job, several of them in parallel.

Both strategies are emulated by a seeded random search: what AWS's Bayesian search would choose cannot be known here.
The rehearsal covers everything around it: the jobs, their metrics and the best job.
"""

import random
import threading
from typing import Any

from rehearsal.aws import adapter
from rehearsal.aws.jobs import arn_of, may_start
from rehearsal.aws.protocol import AwsError, Caller, now, page, public, short_id
from rehearsal.aws.search import draw, is_hopeless

POLL_SECONDS = 0.2
STATUS_COUNTERS = {
    "Completed": "Completed",
    "InProgress": "InProgress",
    "Failed": "NonRetryableError",
    "Stopped": "Stopped",
}
ALL_FAILED = "All training jobs failed. Please take a look at the training jobs failures to get more details."
NO_OBJECTIVE = (
    "No objective metrics found after running {} training jobs. Please ensure that the custom algorithm is emitting the "
    "objective metric as defined by the regular expression provided."
)
# Members that a training job takes unchanged from its definition.
TAKEN = (
    "CheckpointConfig", "EnableManagedSpotTraining", "EnableNetworkIsolation", "Environment", "InputDataConfig",
    "OutputDataConfig", "ResourceConfig", "RoleArn", "StoppingCondition", "VpcConfig",
)  # fmt: skip


class Tunings:
    """The operations on hyperparameter tuning jobs."""

    jobs: dict[str, dict[str, dict[str, Any]]]

    def create_hyper_parameter_tuning_job(self, parameters: dict[str, Any], caller: Caller) -> dict[str, Any]:
        name = parameters["HyperParameterTuningJobName"]
        if name in self.jobs["tuning"]:
            raise AwsError("ResourceInUse", f"A hyperparameter tuning job with the name, {name}, already exists.")
        check_search(parameters)
        self.check_training(
            parameters["TrainingJobDefinition"], parameters["TrainingJobDefinition"].get("StaticHyperParameters", {})
        )
        may_start("tuning", parameters, parameters["TrainingJobDefinition"], caller)
        arn = arn_of("tuning", name)
        record = {
            **parameters,
            "HyperParameterTuningJobArn": arn,
            "HyperParameterTuningJobStatus": "InProgress",
            "CreationTime": now(),
            "LastModifiedTime": now(),
            "trials": [],
            "ended": threading.Event(),
            "stop": threading.Event(),
        }
        self.jobs["tuning"][name] = record
        adapter.in_background(Search(self, record).run)
        return {"HyperParameterTuningJobArn": arn}

    def describe_hyper_parameter_tuning_job(self, parameters: dict[str, Any], caller: Caller) -> dict[str, Any]:
        return describe(self.job("tuning", parameters["HyperParameterTuningJobName"]))

    def list_hyper_parameter_tuning_jobs(self, parameters: dict[str, Any], caller: Caller) -> dict[str, Any]:
        keys = (
            "HyperParameterTuningJobName", "HyperParameterTuningJobArn", "HyperParameterTuningJobStatus", "CreationTime",
            "HyperParameterTuningEndTime", "LastModifiedTime", "TrainingJobStatusCounters", "ObjectiveStatusCounters",
        )  # fmt: skip
        found = [
            {key: job[key] for key in keys if key in job}
            | {"Strategy": job["HyperParameterTuningJobConfig"]["Strategy"]}
            for job in map(describe, list(self.jobs["tuning"].values()))
        ]
        return page(found, parameters, "HyperParameterTuningJobSummaries")

    def list_training_jobs_for_hyper_parameter_tuning_job(
        self, parameters: dict[str, Any], caller: Caller
    ) -> dict[str, Any]:
        job = self.job("tuning", parameters["HyperParameterTuningJobName"])
        found = [summary(job, trial) for trial in job["trials"]]
        found = [one for one in found if parameters.get("StatusEquals") in (None, one["TrainingJobStatus"])]
        by = parameters.get("SortBy", "Name")
        if by == "FinalObjectiveMetricValue":  # which drops jobs without one
            found = sorted((one for one in found if value_of(one) is not None), key=value_of)
        else:
            key = {"Name": "TrainingJobName", "Status": "TrainingJobStatus"}.get(by, by)
            found = sorted(found, key=lambda one: one[key])
        if parameters.get("SortOrder") == "Descending":
            found.reverse()
        return page(found, parameters, "TrainingJobSummaries")

    def stop_hyper_parameter_tuning_job(self, parameters: dict[str, Any], caller: Caller) -> dict[str, Any]:
        job = self.job("tuning", parameters["HyperParameterTuningJobName"])
        if not job["ended"].is_set():
            job["HyperParameterTuningJobStatus"] = "Stopping"
            job["stop"].set()
        return {}


def check_search(parameters: dict[str, Any]) -> None:
    """Raise ValidationException for a tuning job that AWS rejects or that is not emulated.

    It needs a training job definition, an objective among its metric definitions, and ranges for hyperparameters that
    are not static.
    """
    config = parameters["HyperParameterTuningJobConfig"]
    if "TrainingJobDefinition" not in parameters or "HyperParameterTuningJobObjective" not in config:
        raise AwsError("ValidationException", "A tuning job needs a TrainingJobDefinition and an objective.")
    definition = parameters["TrainingJobDefinition"]
    names = [metric["Name"] for metric in definition["AlgorithmSpecification"].get("MetricDefinitions", [])]
    objective = config["HyperParameterTuningJobObjective"]["MetricName"]
    if objective not in names:
        raise AwsError(
            "ValidationException",
            f"The objective metric {objective} is not among the metric definitions: {', '.join(names)}.",
        )
    searched = {entry["Name"] for entries in config.get("ParameterRanges", {}).values() for entry in entries}
    if not searched:
        raise AwsError("ValidationException", "A tuning job needs a range to search.")
    if both := searched & definition.get("StaticHyperParameters", {}).keys():
        raise AwsError("ValidationException", f"Both static and searched: {', '.join(sorted(both))}.")


class Search:
    """One tuning job, from the start of its first training job to the end of its last."""

    def __init__(self, service: Any, record: dict[str, Any]):
        self.service = service
        self.record = record
        self.config = record["HyperParameterTuningJobConfig"]
        self.objective = self.config["HyperParameterTuningJobObjective"]
        self.random = random.Random(self.config.get("RandomSeed", 0))

    def run(self) -> None:
        try:
            self.search()
            status, reason = self.outcome()
        except Exception as error:
            status, reason = "Failed", f"ClientError: {error}"
        if reason:
            self.record["FailureReason"] = reason
        self.record["HyperParameterTuningEndTime"] = self.record["LastModifiedTime"] = now()
        self.record["HyperParameterTuningJobStatus"] = status
        self.record["ended"].set()

    def search(self) -> None:
        """Start training jobs, as many in parallel as allowed, until all have ended or the tuning job is stopped."""
        limits, trials = self.config["ResourceLimits"], self.record["trials"]
        stop = self.record["stop"]
        while not stop.is_set():
            running = [trial for trial in trials if not trial["ended"].is_set()]
            left = limits.get("MaxNumberOfTrainingJobs", 1) - len(trials)
            if left and len(running) < limits["MaxParallelTrainingJobs"]:
                self.start_trial()
            elif not running:
                return
            else:
                self.stop_hopeless(running)
                stop.wait(POLL_SECONDS)
        for trial in trials:
            trial["stop"].set()
        for trial in trials:
            trial["ended"].wait()

    def start_trial(self) -> None:
        """Start a training job with hyperparameters drawn from the ranges."""
        tuned = draw(self.config["ParameterRanges"], self.random)
        definition = self.record["TrainingJobDefinition"]
        number = len(self.record["trials"]) + 1
        request = {
            **{name: definition[name] for name in TAKEN if name in definition},
            "TrainingJobName": f"{self.record['HyperParameterTuningJobName']}-{number:03}-{short_id(8)}",
            "AlgorithmSpecification": definition["AlgorithmSpecification"],
            "HyperParameters": {
                "_tuning_objective_metric": self.objective["MetricName"],
                **definition.get("StaticHyperParameters", {}),
                **tuned,
            },
            "TuningJobArn": self.record["HyperParameterTuningJobArn"],
            "Tags": self.record.get("Tags", []),  # AWS also gives them to the training jobs
            "tuned": tuned,
        }
        self.record["trials"].append(self.service.start_job("training", request))
        self.record["LastModifiedTime"] = now()

    def stop_hopeless(self, running: list[dict[str, Any]]) -> None:
        """Stop running jobs that are worse than the completed ones were at the same epoch, if early stopping is on."""
        if self.config.get("TrainingJobEarlyStoppingType") != "Auto":
            return
        name, maximize = self.objective["MetricName"], self.objective["Type"] == "Maximize"
        earlier = [t["metrics"].get(name, []) for t in self.record["trials"] if t["TrainingJobStatus"] == "Completed"]
        for trial in running:
            if is_hopeless(trial["metrics"].get(name, []), earlier, maximize):
                trial["stop"].set()

    def outcome(self) -> tuple[str, str]:
        """Return the final status, and the failure reason if the tuning job failed."""
        if self.record["stop"].is_set():
            return "Stopped", ""
        if best_first(self.record):
            return "Completed", ""
        completed = [trial for trial in self.record["trials"] if trial["TrainingJobStatus"] == "Completed"]
        return "Failed", NO_OBJECTIVE.format(len(completed)) if completed else ALL_FAILED


def describe(job: dict[str, Any]) -> dict[str, Any]:
    """Return the description of a tuning job, with counters of its training jobs' statuses and the best job."""
    counters = dict.fromkeys(("Completed", "InProgress", "RetryableError", "NonRetryableError", "Stopped"), 0)
    objectives = {"Succeeded": 0, "Pending": 0, "Failed": 0}
    for trial in list(job["trials"]):
        counters[STATUS_COUNTERS[trial["TrainingJobStatus"]]] += 1
        objectives[summary(job, trial)["ObjectiveStatus"]] += 1
    best = best_first(job)
    return {
        **public(job),
        "TrainingJobStatusCounters": counters,
        "ObjectiveStatusCounters": objectives,
        **({"BestTrainingJob": best[0]} if best else {}),
    }


def best_first(job: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the summaries of the training jobs that completed with an objective value, best first."""
    maximize = job["HyperParameterTuningJobConfig"]["HyperParameterTuningJobObjective"]["Type"] == "Maximize"
    completed = [summary(job, trial) for trial in list(job["trials"]) if trial["TrainingJobStatus"] == "Completed"]
    return sorted((one for one in completed if value_of(one) is not None), key=value_of, reverse=maximize)


def summary(job: dict[str, Any], trial: dict[str, Any]) -> dict[str, Any]:
    """Return the summary of a training job in its tuning job; the objective value is the last one that it logged."""
    objective = job["HyperParameterTuningJobConfig"]["HyperParameterTuningJobObjective"]
    values = trial["metrics"].get(objective["MetricName"], [])
    keys = (
        "TrainingJobName", "TrainingJobArn", "CreationTime", "TrainingStartTime", "TrainingEndTime", "TrainingJobStatus",
        "FailureReason",
    )  # fmt: skip
    shown = {key: trial[key] for key in keys if key in trial} | {"TunedHyperParameters": trial["tuned"]}
    if not trial["ended"].is_set():
        return shown | {"ObjectiveStatus": "Pending"}
    if not values:
        return shown | {"ObjectiveStatus": "Failed"}
    return shown | {
        "ObjectiveStatus": "Succeeded",
        "FinalHyperParameterTuningJobObjectiveMetric": {**objective, "Value": values[-1]},
    }


def value_of(shown: dict[str, Any]) -> float | None:
    """Return the objective value in a training job's summary, or None."""
    return shown.get("FinalHyperParameterTuningJobObjectiveMetric", {}).get("Value")
