"""Emulated hyperparameter tuning: real training jobs, started as the images' SageMaker training toolkit does."""

import io
import json
import tarfile
import time
import uuid

import pytest
from botocore.exceptions import ClientError
from conftest import wait_for

from rehearsal.aws.search import is_hopeless

# Writes what it was given to seen.json and prints learning_rate / epoch as its loss for two epochs. `do` makes it fail,
# wait, print no loss ("silent"), or, with a high learning rate, wait after each epoch ("linger").
SCRIPT = """
import argparse, json, os, pathlib, sys, time
parser = argparse.ArgumentParser()
parser.add_argument("--learning_rate", type=float)
parser.add_argument("--epochs", type=int)
parser.add_argument("--do", default="")
given = parser.parse_args()
names = ("SM_CHANNEL_TRAIN", "SM_MODEL_DIR", "SM_OUTPUT_DATA_DIR", "SM_HPS", "SM_HOSTS", "SM_CURRENT_HOST",
         "SM_NUM_GPUS", "SM_MODULE_DIR", "SM_CHANNELS", "SM_HP_EPOCHS", "TRAINING_JOB_NAME")
ml = pathlib.Path(os.environ.get("OPT_ML", "/opt/ml"))
pathlib.Path(os.environ["SM_OUTPUT_DATA_DIR"], "seen.json").write_text(json.dumps({
    "arguments": sys.argv[1:],
    "folder": str(pathlib.Path.cwd().relative_to(ml)),
    "beside": sorted(p.name for p in pathlib.Path.cwd().iterdir()),
    "told": json.loads((ml / "input/config/hyperparameters.json").read_text()),
    "variables": {name: os.environ[name].replace(str(ml), "/opt/ml") for name in names},
}))
if given.do == "fail":
    (ml / "output/failure").write_text("the reason of the script")
    sys.exit(2)
print("started", flush=True)
if given.do == "wait":
    time.sleep(60)
for epoch in (1, 2):
    if given.do != "silent":
        print(f"epoch={epoch} validation_loss={given.learning_rate / epoch:.6f}", flush=True)
    time.sleep(60 if given.do == "linger" and given.learning_rate > 0.001 else 0.4)
(ml / "model/weights").write_text(str(given.learning_rate))
"""
RANGES = {
    "ContinuousParameterRanges": [
        {"Name": "learning_rate", "MinValue": "0.0001", "MaxValue": "0.01", "ScalingType": "Logarithmic"}
    ]
}


def packed(**files: str) -> bytes:
    """Return a .tar.gz of the files; "_py" in a name stands for ".py"."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        for name, body in files.items():
            member = tarfile.TarInfo(name.replace("_py", ".py"))
            member.size = len(body)
            archive.addfile(member, io.BytesIO(body.encode()))
    return content.getvalue()


ARCHIVE = "/opt/ml/input/data/code/sourcedir.tar.gz"


@pytest.fixture(scope="module")
def role(make_role):
    return make_role("tunings", "sagemaker", "s3:*")


@pytest.fixture(scope="module")
def request_of(emulator, bucket, role):
    """Return a function that makes the request of a tuning job on one small file."""
    s3 = emulator.client("s3")
    s3.put_object(Bucket=bucket, Key="tuning/code/sourcedir.tar.gz", Body=packed(train_py=SCRIPT, other_py="x = 1\n"))
    s3.put_object(Bucket=bucket, Key="tuning/train/a.txt", Body=b"1")

    def make(jobs: int = 2, parallel: int = 2, early: str = "Off", seed: int = 1, **hyperparameters: str) -> dict:
        sources = {
            name: {"S3DataType": "S3Prefix", "S3Uri": f"s3://{bucket}/tuning/{name}"} for name in ("code", "train")
        }
        channels = [{"ChannelName": n, "DataSource": {"S3DataSource": source}} for n, source in sources.items()]
        objective = {"Type": "Minimize", "MetricName": "validation_loss"}
        return {
            "HyperParameterTuningJobName": f"tuning-{uuid.uuid4().hex[:8]}",
            "HyperParameterTuningJobConfig": {
                "Strategy": "Bayesian",
                "HyperParameterTuningJobObjective": objective,
                "ResourceLimits": {"MaxNumberOfTrainingJobs": jobs, "MaxParallelTrainingJobs": parallel},
                "ParameterRanges": RANGES,
                "TrainingJobEarlyStoppingType": early,
                "RandomSeed": seed,
            },
            "TrainingJobDefinition": {
                "AlgorithmSpecification": {
                    "TrainingImage": "image",
                    "TrainingInputMode": "File",
                    "MetricDefinitions": [{"Name": "validation_loss", "Regex": "validation_loss=([0-9.eE+-]+)"}],
                },
                "RoleArn": role,
                "StaticHyperParameters": {
                    "epochs": "2",
                    "sagemaker_program": "train.py",
                    "sagemaker_submit_directory": ARCHIVE,
                    **hyperparameters,
                },
                "InputDataConfig": channels,
                "OutputDataConfig": {"S3OutputPath": f"s3://{bucket}/tuning/output"},
                "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
                "StoppingCondition": {"MaxRuntimeInSeconds": 100},
            },
            "Tags": [{"Key": "Step", "Value": "Tune"}],
        }

    return make


@pytest.fixture(scope="module")
def run(emulator):
    """Return a function that runs a tuning job to its end.

    It returns the job's description and the summaries of its training jobs, in the order of their names.
    """
    sagemaker = emulator.client("sagemaker")

    def to_its_end(request: dict) -> tuple[dict, list[dict]]:
        name = {"HyperParameterTuningJobName": request["HyperParameterTuningJobName"]}
        sagemaker.create_hyper_parameter_tuning_job(**request)

        def ended() -> dict | None:
            job = sagemaker.describe_hyper_parameter_tuning_job(**name)
            return job if job["HyperParameterTuningJobStatus"] not in ("InProgress", "Stopping") else None

        job = wait_for(ended, 60)
        listed = sagemaker.list_training_jobs_for_hyper_parameter_tuning_job(**name)["TrainingJobSummaries"]
        return job, listed

    return to_its_end


@pytest.fixture(scope="module")
def tuned(request_of, run):
    """Run a tuning of three jobs, two at a time; return its description and its training jobs."""
    return run(request_of(jobs=3))


def test_the_best_of_a_tuning_is_the_job_with_the_best_last_value(tuned):
    job, trials = tuned

    rates = [float(trial["TunedHyperParameters"]["learning_rate"]) for trial in trials]
    best = trials[rates.index(min(rates))]
    found = job["BestTrainingJob"]
    assert (job["HyperParameterTuningJobStatus"], job["TrainingJobStatusCounters"]["Completed"]) == ("Completed", 3)
    assert job["ObjectiveStatusCounters"] == {"Succeeded": 3, "Pending": 0, "Failed": 0}
    assert all(0.0001 <= rate <= 0.01 for rate in rates)
    assert len(set(rates)) == 3
    assert found["TrainingJobName"] == best["TrainingJobName"]
    metric = found["FinalHyperParameterTuningJobObjectiveMetric"]
    assert (metric["MetricName"], metric["Type"]) == ("validation_loss", "Minimize")
    assert metric["Value"] == pytest.approx(min(rates) / 2, abs=1e-6)


def test_so_many_jobs_run_at_the_same_time_and_no_more(tuned):
    _, trials = tuned

    first, second, third = ((trial["TrainingStartTime"], trial["TrainingEndTime"]) for trial in trials)
    assert max(first[0], second[0]) < min(first[1], second[1])
    assert third[0] > min(first[1], second[1])


def test_the_script_is_started_as_the_toolkit_starts_it(tuned, emulator, bucket):
    name = tuned[1][0]["TrainingJobName"]
    rate = tuned[1][0]["TunedHyperParameters"]["learning_rate"]
    stored = emulator.client("s3").get_object(Bucket=bucket, Key=f"tuning/output/{name}/output/output.tar.gz")
    with tarfile.open(fileobj=io.BytesIO(stored["Body"].read())) as archive:
        seen = json.loads(archive.extractfile("seen.json").read())

    variables = seen["variables"]
    hyperparameters = {"epochs": 2, "learning_rate": float(rate)}
    assert seen["arguments"] == ["--epochs", "2", "--learning_rate", str(float(rate))]
    assert (seen["folder"], seen["beside"]) == ("code", ["other.py", "train.py"])
    assert seen["told"]["_tuning_objective_metric"] == "validation_loss"
    assert json.loads(variables.pop("SM_HPS")) == hyperparameters
    assert variables == {
        "SM_CHANNEL_TRAIN": "/opt/ml/input/data/train",
        "SM_CHANNELS": '["code","train"]',
        "SM_MODEL_DIR": "/opt/ml/model",
        "SM_OUTPUT_DATA_DIR": "/opt/ml/output/data",
        "SM_HOSTS": '["algo-1"]',
        "SM_CURRENT_HOST": "algo-1",
        "SM_NUM_GPUS": variables["SM_NUM_GPUS"],
        "SM_MODULE_DIR": ARCHIVE,
        "SM_HP_EPOCHS": "2",
        "TRAINING_JOB_NAME": name,
    }


def test_a_tunings_training_jobs_are_training_jobs(tuned, emulator):
    job, trials = tuned
    sagemaker = emulator.client("sagemaker")

    described = sagemaker.describe_training_job(TrainingJobName=trials[0]["TrainingJobName"])

    final = {metric["MetricName"]: metric["Value"] for metric in described["FinalMetricDataList"]}
    value = trials[0]["FinalHyperParameterTuningJobObjectiveMetric"]["Value"]
    assert described["TuningJobArn"] == job["HyperParameterTuningJobArn"]
    assert final == {"validation_loss": value}
    assert described["ModelArtifacts"]["S3ModelArtifacts"].endswith(
        f"{trials[0]['TrainingJobName']}/output/model.tar.gz"
    )
    assert sagemaker.list_tags(ResourceArn=described["TrainingJobArn"])["Tags"] == [{"Key": "Step", "Value": "Tune"}]


def test_training_jobs_are_listed_by_what_they_reached(tuned, emulator):
    job, trials = tuned
    sagemaker = emulator.client("sagemaker")
    name = {"HyperParameterTuningJobName": job["HyperParameterTuningJobName"]}

    listed = sagemaker.list_training_jobs_for_hyper_parameter_tuning_job(
        **name, SortBy="FinalObjectiveMetricValue", SortOrder="Ascending"
    )["TrainingJobSummaries"]

    assert listed[0]["TrainingJobName"] == job["BestTrainingJob"]["TrainingJobName"]
    assert sorted(trial["TrainingJobName"] for trial in listed) == [trial["TrainingJobName"] for trial in trials]
    tunings = sagemaker.list_hyper_parameter_tuning_jobs(NameContains=name["HyperParameterTuningJobName"])
    assert [one["Strategy"] for one in tunings["HyperParameterTuningJobSummaries"]] == ["Bayesian"]


def test_a_job_that_is_worse_than_those_before_it_is_stopped_early(request_of, run):
    # With this seed the first learning rate is 0.0002 and the second 0.005.
    job, trials = run(request_of(jobs=2, parallel=1, early="Auto", seed=1, do="linger"))

    assert [trial["TrainingJobStatus"] for trial in trials] == ["Completed", "Stopped"]
    assert job["HyperParameterTuningJobStatus"] == "Completed"
    assert job["BestTrainingJob"]["TrainingJobName"] == trials[0]["TrainingJobName"]


def test_a_tuning_fails_when_all_its_jobs_fail_each_in_its_own_words(request_of, run):
    job, trials = run(request_of(do="fail"))

    assert job["HyperParameterTuningJobStatus"] == "Failed"
    assert job["FailureReason"].startswith("All training jobs failed.")
    assert job["TrainingJobStatusCounters"]["NonRetryableError"] == 2
    assert trials[0]["FailureReason"] == "AlgorithmError: the reason of the script (exit code 2)"
    assert "BestTrainingJob" not in job


def test_a_tuning_whose_jobs_print_no_objective_fails_saying_so(request_of, run):
    job, _ = run(request_of(jobs=1, parallel=1, do="silent"))

    assert job["HyperParameterTuningJobStatus"] == "Failed"
    assert job["FailureReason"].startswith("No objective metrics found after running 1 training jobs.")


def test_a_stopped_tuning_stops_its_jobs_without_waiting_for_a_script_that_hears_nothing(request_of, run, emulator):
    sagemaker, request = emulator.client("sagemaker"), request_of(do="wait")
    name = {"HyperParameterTuningJobName": request["HyperParameterTuningJobName"]}
    sagemaker.create_hyper_parameter_tuning_job(**request)

    def started() -> bool:
        trials = sagemaker.list_training_jobs_for_hyper_parameter_tuning_job(**name)["TrainingJobSummaries"]
        return len(trials) == 2 and all("TrainingStartTime" in trial for trial in trials)

    wait_for(started)
    sagemaker.stop_hyper_parameter_tuning_job(**name)
    before = time.monotonic()

    def stopped() -> dict | None:
        job = sagemaker.describe_hyper_parameter_tuning_job(**name)
        return job if job["HyperParameterTuningJobStatus"] == "Stopped" else None

    assert wait_for(stopped)["TrainingJobStatusCounters"]["Stopped"] == 2
    assert time.monotonic() - before < 20


@pytest.mark.parametrize(
    "change, said",
    [
        (
            lambda r: r["HyperParameterTuningJobConfig"].update(Strategy="Grid"),
            "does not support HyperParameterTuningJobConfig.Strategy = Grid of sagemaker:CreateHyperParameterTuningJob",
        ),
        (
            lambda r: r["HyperParameterTuningJobConfig"]["HyperParameterTuningJobObjective"].update(MetricName="f1"),
            "The objective metric f1 is not among the metric definitions: validation_loss.",
        ),
        (
            lambda r: r["TrainingJobDefinition"]["StaticHyperParameters"].update(learning_rate="1"),
            "Both static and searched: learning_rate.",
        ),
        (
            lambda r: r["TrainingJobDefinition"].update(EnableManagedSpotTraining=True),
            "MaxWaitTimeInSeconds must be at least MaxRuntimeInSeconds with managed spot",
        ),
        (
            lambda r: r["TrainingJobDefinition"]["StaticHyperParameters"].pop("sagemaker_program"),
            "does not support training with neither a ContainerEntrypoint nor a sagemaker_program",
        ),
    ],
)
def test_a_tuning_that_cannot_be_is_refused(emulator, request_of, change, said):
    request = request_of()
    change(request)

    with pytest.raises(ClientError) as caught:
        emulator.client("sagemaker").create_hyper_parameter_tuning_job(**request)

    assert said in caught.value.response["Error"]["Message"]


@pytest.fixture(scope="module")
def tuner(emulator, make_role, as_role):
    """Return a client that may start and describe tunings of the project p-mine, as the pipeline role may."""
    role = make_role("tuner-of-mine", "sagemaker")
    tagged = {"StringEquals": {"aws:RequestTag/sagemaker:project-id": "p-mine"}}
    allowed = {
        "AddTags": tagged,
        "CreateHyperParameterTuningJob": tagged,
        "DescribeHyperParameterTuningJob": {"StringEquals": {"aws:ResourceTag/sagemaker:project-id": "p-mine"}},
    }
    statements = [
        {"Effect": "Allow", "Action": f"sagemaker:{action}", "Resource": "*", "Condition": condition}
        for action, condition in allowed.items()
    ]
    statements.append({"Effect": "Allow", "Action": "iam:PassRole", "Resource": "*"})
    document = json.dumps({"Version": "2012-10-17", "Statement": statements})
    emulator.client("iam").put_role_policy(RoleName="tuner-of-mine", PolicyName="mine", PolicyDocument=document)
    return emulator.client("sagemaker", as_role(role))


def test_a_project_reaches_the_tunings_that_have_its_tag(tuner, request_of):
    request = request_of(jobs=1, parallel=1, do="fail")
    request["Tags"] = [{"Key": "sagemaker:project-id", "Value": "p-mine"}]

    tuner.create_hyper_parameter_tuning_job(**request)

    name = {"HyperParameterTuningJobName": request["HyperParameterTuningJobName"]}
    assert tuner.describe_hyper_parameter_tuning_job(**name)["HyperParameterTuningJobName"] == name.popitem()[1]


def test_a_project_reaches_no_others(tuner, request_of, emulator):
    request = request_of(jobs=1, parallel=1, do="fail")
    request["Tags"] = [{"Key": "sagemaker:project-id", "Value": "p-other"}]

    with pytest.raises(ClientError, match="not authorized to perform: sagemaker:CreateHyperParameterTuningJob"):
        tuner.create_hyper_parameter_tuning_job(**request)
    emulator.client("sagemaker").create_hyper_parameter_tuning_job(**request)
    with pytest.raises(ClientError, match="not authorized to perform: sagemaker:DescribeHyperParameterTuningJob"):
        tuner.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName=request["HyperParameterTuningJobName"])


@pytest.mark.parametrize(
    "values, earlier, hopeless",
    [
        ([], [[0.5, 0.6]], False),  # no value yet
        ([0.1], [], False),  # no earlier job
        ([0.4], [[0.5, 0.9]], True),  # worse than the earlier job after its first epoch
        ([0.4, 0.6], [[0.3, 0.5], [0.4, 0.6], [0.9, 0.9]], False),  # running averages 0.4, 0.5, 0.9: median 0.5
        ([0.4, 0.49], [[0.3, 0.5], [0.4, 0.6], [0.9, 0.9]], True),
        ([0.1, 0.1, 0.1], [[0.5, 0.6]], False),  # no earlier job ran that long
    ],
)
def test_a_job_below_the_median_of_those_before_it_is_hopeless(values, earlier, hopeless):
    assert is_hopeless(values, earlier, maximize=True) is hopeless
    assert is_hopeless([-v for v in values], [[-v for v in e] for e in earlier], maximize=False) is hopeless
