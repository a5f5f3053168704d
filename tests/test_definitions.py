"""Pipeline definitions: up to date, deterministic, written without network access, and as the settings say."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import tomlkit

from build import ROOT, VARIANTS
from build.assemble import assemble, write
from build.definitions import generate
from spotkit import checks

# Exits at the first attempt to connect. In a network namespace, code that swallows the error would hide the attempt.
NO_NETWORK = """
import sys
def refuse(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo"):
        print("network:", arguments, file=sys.stderr)
        import os; os._exit(9)
sys.addaudithook(refuse)
import runpy; sys.path.insert(0, "."); runpy.run_path("pipeline.py", run_name="__main__")
"""


def definition_with(
    folder: Path, variant: str, section: str = "compute", tuning: dict | None = None, **values: str
) -> dict:
    """Assemble a seed and return its definition with changed settings in `section` and [tuning], network refused."""
    write(assemble(variant), folder)
    return definition_of(folder, tuning, section, **values)


def definition_of(folder: Path, tuning: dict | None = None, section: str = "compute", **values: str) -> dict:
    """Return the definition of an assembled seed with changed settings."""
    done = run(folder, {}, section, tuning, **values)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def run(
    folder: Path, variables: dict[str, str], section: str, tuning: dict | None = None, **values: str
) -> subprocess.CompletedProcess:
    """Run a seed's pipeline.py with changed settings and the variables of a build; any network access ends it."""
    settings = tomlkit.parse((folder / "settings.toml").read_text())
    settings[section].update(values)
    settings["tuning"].update(tuning or {})
    (folder / "settings.toml").write_text(tomlkit.dumps(settings))
    return subprocess.run(
        [sys.executable, "-c", NO_NETWORK],
        cwd=folder,
        env={"PATH": os.environ["PATH"], **variables},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_committed_definition_is_fresh_and_the_same_when_written_again(variant):
    committed = (ROOT / "pipeline_json" / f"{variant}.json").read_text()

    assert generate(variant) == committed, "run: make definitions"


@pytest.mark.parametrize(
    "mode, trainings",
    [
        ("spot", {"Train": True}),
        ("on_demand", {"Train": False}),
        ("compare", {"Train": True, "TrainOnDemand": False}),
    ],
)
def test_the_mode_decides_which_trainings_run_on_spot(tmp_path, mode, trainings):
    definition = definition_with(tmp_path, "nlp", mode=mode)

    requests = {step["Name"]: step["Arguments"] for step in definition["Steps"] if step["Type"] == "Training"}
    assert {name: request.get("EnableManagedSpotTraining", False) for name, request in requests.items()} == trainings
    for name, spot in trainings.items():
        assert ("MaxWaitTimeInSeconds" in requests[name]["StoppingCondition"]) is spot
        assert {"Key": "TrainingType", "Value": "Spot" if spot else "OnDemand"} in requests[name]["Tags"]
        assert requests[name]["CheckpointConfig"]["LocalPath"] == "/opt/ml/checkpoints"


def test_a_job_is_told_where_to_report_and_no_secret(tmp_path):
    chosen = {
        "mlflow": "https://mlflow.example.com",
        "wandb_project": "digits",
        "wandb_secret": "sagemaker-p-example/wandb",
    }
    definition = definition_with(tmp_path, "nlp", "tracking", **chosen)

    told = {step["Name"]: step["Arguments"].get("Environment") for step in definition["Steps"] if "Type" in step}
    assert told["Train"] == {
        "MLFLOW_TRACKING_URI": "https://mlflow.example.com",
        "MLFLOW_EXPERIMENT_NAME": "example-p-example",
        "WANDB_PROJECT": "digits",
        "WANDB_SECRET": "sagemaker-p-example/wandb",
    }
    assert told["Preprocess"] is None


def test_rules_that_pyproject_silences_are_in_the_definitions_metadata(tmp_path):
    write(assemble("nlp"), tmp_path)
    with (tmp_path / "pyproject.toml").open("a") as file:
        file.write('\n[tool.spotkit.silenced]\nimages = "a mirror"\n')

    definition = definition_of(tmp_path)

    assert definition["Metadata"] == {"silenced": {"images": "a mirror"}}


def test_a_secret_of_another_project_is_refused_by_the_build(tmp_path):
    write(assemble("nlp"), tmp_path)

    build = {"PROJECT_BUCKET": "bucket", "PROJECT_ID": "p-1"}
    done = run(tmp_path, build, "tracking", wandb_project="digits", wandb_secret="wandb")

    said = "error: [tracking] wandb_secret is 'wandb'. Name it sagemaker-p-1/..., as in sagemaker-p-1/wandb."
    assert (done.returncode, done.stderr.strip()) == (1, said)


TUNING = {
    "jobs": 4,
    "objective": "validation_loss",
    "early_stopping": False,
    "ranges": {"learning_rate": [1e-4, 1e-2], "weight_decay": [0, 0.1], "batch_size": [8, 32], "epochs": ["2", "4"]},
}


@pytest.fixture(scope="module")
def tuned(tmp_path_factory) -> dict:
    """Return a definition that tunes every hyperparameter but the warm-up."""
    return definition_with(tmp_path_factory.mktemp("tuned"), "nlp", tuning=TUNING)


def tune_step(definition: dict) -> dict:
    return next(step for step in definition["Steps"] if step["Name"] == "Tune")


def test_a_tuning_stands_in_place_of_the_training_and_its_best_model_goes_on(tuned):
    steps = {step["Name"]: step for step in tuned["Steps"]}

    best = [
        {"Get": "Steps.Tune.TrainingJobDefinition.OutputDataConfig.S3OutputPath"},
        {"Get": "Steps.Tune.BestTrainingJob.TrainingJobName"},
        "output/model.tar.gz",
    ]
    registration = steps["Gate"]["Arguments"]["IfSteps"][0]["Arguments"]
    assert list(steps) == ["Preprocess", "Tune", "Evaluate", "Gate"]
    assert (steps["Tune"]["Type"], steps["Tune"]["CacheConfig"]["Enabled"]) == ("Tuning", True)
    assert "SageMaker.CAPACITY_ERROR" in steps["Tune"]["RetryPolicies"][1]["ExceptionType"]
    for model in (
        steps["Evaluate"]["Arguments"]["ProcessingInputs"][0]["S3Input"]["S3Uri"],
        registration["InferenceSpecification"]["Containers"][0]["ModelDataUrl"],
    ):
        assert model == {"Std:Join": {"On": "/", "Values": best}}


def test_a_tuning_searches_what_the_settings_say(tuned):
    config = tune_step(tuned)["Arguments"]["HyperParameterTuningJobConfig"]

    assert config["HyperParameterTuningJobObjective"] == {"MetricName": "validation_loss", "Type": "Minimize"}
    assert config["ResourceLimits"] == {"MaxNumberOfTrainingJobs": 4, "MaxParallelTrainingJobs": 2}
    assert (config["Strategy"], config["TrainingJobEarlyStoppingType"]) == ("Bayesian", "Off")
    assert config["ParameterRanges"] == {
        "ContinuousParameterRanges": [
            {"Name": "learning_rate", "MinValue": "0.0001", "MaxValue": "0.01", "ScalingType": "Logarithmic"},
            {"Name": "weight_decay", "MinValue": "0.0", "MaxValue": "0.1", "ScalingType": "Auto"},
        ],
        "IntegerParameterRanges": [{"Name": "batch_size", "MinValue": "8", "MaxValue": "32", "ScalingType": "Auto"}],
        "CategoricalParameterRanges": [{"Name": "epochs", "Values": ["2", "4"]}],
    }


def test_what_is_searched_is_no_parameter_and_its_objective_is_read_off_the_log(tuned):
    names = [entry["Name"] for entry in tuned["Parameters"]]
    jobs = tune_step(tuned)["Arguments"]["TrainingJobDefinition"]
    regex = {metric["Name"]: metric["Regex"] for metric in jobs["AlgorithmSpecification"]["MetricDefinitions"]}

    assert set(jobs["StaticHyperParameters"]) == {"sagemaker_program", "sagemaker_submit_directory"}
    assert len(names) == 5  # overriding a tuned value at start would have no effect
    assert [name for name in names if f'"Parameters.{name}"' not in json.dumps(tuned)] == []
    assert re.search(regex["validation_loss"], "epoch=1 validation_loss=0.5600")[1] == "0.5600"


def test_the_mode_decides_whether_a_tuning_runs_on_spot(tuned, tmp_path):
    on_demand = definition_with(tmp_path, "nlp", tuning=TUNING, mode="on_demand")

    for definition, spot in ((tuned, True), (on_demand, False)):
        request = tune_step(definition)["Arguments"]
        jobs = request["TrainingJobDefinition"]
        assert jobs.get("EnableManagedSpotTraining", False) is spot
        assert ("MaxWaitTimeInSeconds" in jobs["StoppingCondition"]) is spot
        assert {"Key": "TrainingType", "Value": "Spot" if spot else "OnDemand"} in request["Tags"]
        assert jobs["CheckpointConfig"]["LocalPath"] == "/opt/ml/checkpoints"


def test_a_changed_script_changes_the_address_of_a_tunings_code_and_nothing_else(tuned, tmp_path):
    write(assemble("nlp"), tmp_path)
    with (tmp_path / "spotkit/training/train.py").open("a") as script:
        script.write("# ours\n")

    before, after = json.dumps(tuned), json.dumps(definition_of(tmp_path, TUNING))

    first, second = (re.search(r"/code/sourcedir/[0-9a-f]{20}", text)[0] for text in (before, after))
    assert first != second
    assert after.replace(second, first) == before


def test_a_readme_changes_nothing_and_a_script_changes_its_own_step(tmp_path):
    write(assemble("nlp"), tmp_path)

    def addresses() -> dict[str, str]:
        done = subprocess.run([sys.executable, "pipeline.py"], cwd=tmp_path, capture_output=True, text=True, check=True)
        text = {step["Name"]: json.dumps(step) for step in json.loads(done.stdout)["Steps"]}
        steps = ("Preprocess", "Train", "Evaluate")
        return {name: re.search(r'"s3://[^"/]+/code/([0-9a-f]{20})"', text[name]).group(1) for name in steps}

    before = addresses()
    with (tmp_path / "README.md").open("a") as readme, (tmp_path / "spotkit/training/train.py").open("a") as script:
        readme.write("ours\n")
        script.write("# ours\n")
    after = addresses()

    assert {name for name in before if before[name] != after[name]} == {"Train"}


def test_every_parameter_is_used(tmp_path):
    text = (ROOT / "pipeline_json/nlp.json").read_text()

    names = [entry["Name"] for entry in json.loads(text)["Parameters"]]
    assert len(names) == 9
    assert [name for name in names if f'"Parameters.{name}"' not in text] == []


def test_a_gate_that_asks_for_no_worse_than_the_approved_model_measures_both_every_time(tmp_path):
    write(assemble("nlp"), tmp_path)
    plain, challenged = (
        {step["Name"]: step for step in definition_of(tmp_path, None, "gate", allowed_drop=drop)["Steps"]}
        for drop in (1.0, 0.02)
    )

    conditions = challenged["Gate"]["Arguments"]["Conditions"]
    assert [condition["Type"] for condition in conditions] == ["GreaterThanOrEqualTo", "LessThanOrEqualTo"]
    assert conditions[1]["RightValue"] == 0.02
    assert challenged["Evaluate"]["Arguments"]["Environment"]["MODEL_PACKAGE_GROUP"] == "example-p-example"
    assert "CacheConfig" not in challenged["Evaluate"]
    assert len(plain["Gate"]["Arguments"]["Conditions"]) == 1
    assert plain["Evaluate"]["CacheConfig"]["Enabled"]


def test_several_instances_share_the_files_out(tmp_path):
    definition = definition_with(tmp_path, "nlp", processing_instance_count=3)

    preprocess = next(step for step in definition["Steps"] if step["Name"] == "Preprocess")["Arguments"]
    shared = {i["InputName"]: i["S3Input"]["S3DataDistributionType"] for i in preprocess["ProcessingInputs"]}
    assert preprocess["ProcessingResources"]["ClusterConfig"]["InstanceCount"] == 3
    assert shared == {"data": "ShardedByS3Key", "code": "FullyReplicated"}


def test_a_key_encrypts_the_disks_that_take_one(tmp_path):
    write(assemble("nlp"), tmp_path)
    key = "arn:aws:kms:us-east-1:111122223333:key/0"

    done = run(tmp_path, {"PROJECT_KMS_KEY_ARN": key}, "compute")

    steps = {step["Name"]: step["Arguments"] for step in json.loads(done.stdout)["Steps"]}
    assert steps["Preprocess"]["ProcessingResources"]["ClusterConfig"]["VolumeKmsKeyId"] == key
    assert steps["Evaluate"]["ProcessingResources"]["ClusterConfig"]["VolumeKmsKeyId"] == key
    assert "VolumeKmsKeyId" not in steps["Train"]["ResourceConfig"]  # SageMaker refuses a key for local NVMe


IN_VPC = {"PROJECT_SUBNET_IDS": "subnet-0000000a,subnet-0000000b", "PROJECT_SECURITY_GROUP_IDS": "sg-0000000a"}
VPC_CONFIG = {"Subnets": ["subnet-0000000a", "subnet-0000000b"], "SecurityGroupIds": ["sg-0000000a"]}
ISOLATED = {"PROJECT_NETWORK_ISOLATION": "true"}


def networks_of(definition: dict) -> dict[str, dict]:
    """Return for each job the part of its request that sets the network: {step: arguments}."""
    jobs = {step["Name"]: step["Arguments"] for step in definition["Steps"] if step["Type"] != "Condition"}
    return {name: job.get("NetworkConfig") or job.get("TrainingJobDefinition") or job for name, job in jobs.items()}


@pytest.mark.parametrize("jobs", [0, 2], ids=["Train", "Tune"])
@pytest.mark.parametrize(
    "network, vpc, isolated",
    [(IN_VPC, VPC_CONFIG, False), (ISOLATED, None, True), (IN_VPC | ISOLATED, VPC_CONFIG, True)],
    ids=["in a VPC", "isolated", "isolated in a VPC"],
)
def test_jobs_are_in_the_projects_network_and_install_nothing_from_the_internet(tmp_path, jobs, network, vpc, isolated):
    write(assemble("nlp"), tmp_path)
    definition = json.loads(run(tmp_path, network, "tuning", jobs=jobs).stdout)

    for job in networks_of(definition).values():
        assert job.get("VpcConfig") == vpc
        assert job.get("EnableNetworkIsolation", False) is isolated
    packages = set(re.findall(r'"(s3://[^"]*/code/packages/[0-9a-f]{20})"', json.dumps(definition)))
    assert len(packages) == 1
    assert json.dumps(definition).count(packages.pop()) == 3
    folders = {"/opt/ml/processing/input/packages": 2, "/opt/ml/input/data/packages": 1}
    for folder, times in folders.items():
        assert json.dumps(definition).count(f'"PIP_FIND_LINKS": "{folder}", "PIP_NO_INDEX": "1"') == times
    checks.refuse(definition)


def test_what_needs_a_network_is_refused_where_jobs_have_none(tmp_path):
    write(assemble("nlp"), tmp_path)
    for section, name, value in (
        ("gate", "allowed_drop", 0.02),
        ("model", "weights", "hub"),
        ("tracking", "mlflow", "http://mlflow:5000"),
    ):
        assert run(tmp_path, IN_VPC, section, **{name: value}).returncode == 0

    assert run(tmp_path, ISOLATED, "compute").stderr.strip() == (
        "error: this project's jobs have no network, which [tracking] mlflow, [model] weights, [gate] allowed_drop would need. "
        'Set [tracking] mlflow to "", [model] weights to "scratch", or an address in S3, [gate] allowed_drop to 1.0; or have '
        "the platform team set the project's parameter NetworkIsolation to false."
    )


def test_tracking_brings_its_packages_to_training_and_to_nothing_else(tmp_path):
    write(assemble("nlp"), tmp_path)

    def addresses() -> dict[str, str]:
        steps = json.loads(run(tmp_path, IN_VPC, "compute").stdout)["Steps"]
        found = {step["Name"]: re.search(r"/code/packages/([0-9a-f]{20})", json.dumps(step)) for step in steps}
        return {name: each[1] for name, each in found.items() if each}

    plain = addresses()
    assert run(tmp_path, IN_VPC, "tracking", mlflow="http://mlflow:5000").returncode == 0
    tracked = addresses()
    assert len(set(plain.values())) == 1
    assert {name for name in plain if tracked[name] != plain[name]} == {"Train"}


@pytest.mark.parametrize(
    "source, refused",
    [
        ("s3://ours/data", ""),
        ("s3://shared/data", ""),
        (
            "s3://theirs/data",
            "error: [data] source is 's3://theirs/data', not in s3://ours, s3://shared. Copy it there, or have the "
            "platform team add the bucket to the project's parameter DataBucketArns.",
        ),
    ],
)
def test_data_lies_where_the_jobs_may_read(tmp_path, source, refused):
    write(assemble("nlp"), tmp_path)

    build = {"PROJECT_BUCKET": "ours", "PROJECT_DATA_BUCKET_ARNS": "arn:aws:s3:::shared"}
    done = run(tmp_path, build, "data", source=source)

    assert done.stderr.strip() == refused
    assert (done.returncode == 0) is (refused == "")
