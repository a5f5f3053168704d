"""The whole rehearsal, as a person runs it: both variants, the story after, a play that stays up, and Ctrl-C."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from conftest import ROOT, make, wait_for

from rehearsal import server

BIN = ROOT / ".venv/bin"
VARIANTS = ("nlp", "cv")


def running() -> set[str]:
    """The command lines of everything that a play starts."""
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    return {line for line in listed.splitlines() if "rehearsal-" in line or "model_server.py" in line}


def folders() -> set[Path]:
    return set(Path(tempfile.gettempdir()).glob("rehearsal-*"))


@pytest.fixture(scope="module")
def told() -> str:
    """What `make rehearse` prints."""
    before = running(), folders()
    done = make("rehearse")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (running(), folders()) == before
    return done.stdout


def chapter(told: str, title: str) -> str:
    """The lines of one chapter."""
    return told.split(f"\n{title}", 1)[1].split("\n\n", 1)[0]


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_project_goes_from_its_template_to_a_prediction(told, variant):
    lines = chapter(told, f"{variant}: a project")

    hops = re.findall(r"(?m)^(?:   ok|     ) +(\S[^\d]*?)  +\d+\.\d s", lines)
    route = {"nlp": "CreateProject (Service Catalog)", "cv": "CreateProject (template in S3)"}[variant]
    steps = ["Preprocess", "Train", "Evaluate", "Gate", "Register"]
    expected = [route, "git clone", "first build", *steps, "model package", "approve, deploy to staging", "prediction"]
    assert [hop for hop in hops if hop in expected] == expected


def test_the_prediction_is_right(told):
    assert re.search(r"prediction .*'Thank you so much.*-> praise", told)
    assert re.search(r"prediction .*7/03.png -> 7", told)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_hyperparameter_makes_version_2_and_takes_preprocessing_from_the_cache(told, variant):
    after = chapter(told, f"{variant}: what comes after")

    assert re.search(r"Preprocess +\d+\.\d s  taken from the cache", after)
    assert re.search(r"model package .* version 2, PendingManualApproval", after)


@pytest.mark.parametrize("variant", VARIANTS)
def test_an_override_at_start_changes_what_runs(told, variant):
    assert re.search(r"what the job was told .* epochs = 1", chapter(told, f"{variant}: what comes after"))


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_readme_runs_nothing_and_a_broken_test_is_stopped_in_the_build(told, variant):
    after = chapter(told, f"{variant}: what comes after")

    assert "the definition is the same, so no pipeline runs" in after
    assert "FAILED: FAILED tests/test_broken.py::test_that_fails" in after


@pytest.mark.parametrize("variant", VARIANTS)
def test_nothing_is_left_of_a_deleted_project(told, variant):
    assert re.search(r"delete the project .* nothing is left", chapter(told, f"{variant}: what comes after"))


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_table_names_the_plots_and_they_are_pictures(told, variant):
    row = re.search(rf"(?m)^  {variant} +1 +accuracy 0\.\d+, macro_f1 .* (\S+)$", told)
    plots = ROOT / row.group(1)

    names = {"confusion.png", "classes.png", "training.png"}
    assert names <= {path.name for path in plots.iterdir()}
    assert all((plots / name).read_bytes().startswith(b"\x89PNG") for name in names)


# --- a play that stays up -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def kept():
    """`make rehearse TASK=nlp KEEP=1`, and a shell that does what its last lines say."""
    done = make("rehearse", TASK="nlp", KEEP="1")
    assert done.returncode == 0, done.stdout + done.stderr
    exports = dict(re.findall(r"export (\w+)=(\S+)", done.stdout))
    environment = {**os.environ, **exports, "PATH": f"{BIN}:{os.environ['PATH']}", "GIT_CONFIG_GLOBAL": os.devnull}

    def shell(command: str, code: int = 0) -> str:
        ran = subprocess.run(["sh", "-c", command], env=environment, capture_output=True, text=True, check=False)
        assert ran.returncode == code, ran.stdout + ran.stderr
        return ran.stdout if code == 0 else ran.stderr

    yield shell
    down = make("rehearse-down")
    assert "ended the rehearsal" in down.stdout


@pytest.fixture(scope="module")
def name(kept) -> str:
    project = json.loads(kept("aws sagemaker list-projects"))["ProjectSummaryList"][0]
    assert project["ProjectStatus"] == "CreateCompleted"
    return f"{project['ProjectName']}-{project['ProjectId']}"


def test_the_cli_lists_products_and_projects(kept, name):
    products = json.loads(kept("aws servicecatalog search-products"))["ProductViewSummaries"]

    assert sorted(product["Name"] for product in products) == [
        "Image classification on GPU spot",
        "Text classification on GPU spot",
    ]


def test_the_cli_shows_runs_and_builds_and_logs(kept, name):
    project_id = "p-" + name.rsplit("-p-", 1)[1]
    execution = kept(
        f"aws sagemaker list-pipeline-executions --pipeline-name {name} "
        "--query 'PipelineExecutionSummaries[0].PipelineExecutionArn' --output text"
    ).strip()
    steps = json.loads(kept(f"aws sagemaker list-pipeline-execution-steps --pipeline-execution-arn {execution}"))
    build = kept(
        f"aws codebuild list-builds-for-project --project-name sagemaker-{project_id}-build --query 'ids[0]' --output text"
    )
    builds = json.loads(kept(f"aws codebuild batch-get-builds --ids {build.strip()}"))["builds"]

    assert {step["StepStatus"] for step in steps["PipelineExecutionSteps"]} == {"Succeeded"}
    assert builds[0]["buildStatus"] == "SUCCEEDED"
    for group, line in (
        (builds[0]["logs"]["groupName"], "Phase complete: BUILD State: SUCCEEDED"),
        (f"/aws/lambda/sagemaker-{project_id}-execute-pipeline", "pipeline started"),
        ("/aws/sagemaker/TrainingJobs", "validation_accuracy="),
    ):
        found = kept(f"aws logs filter-log-events --log-group-name {group} --query 'events[].message' --output text")
        assert line in found
    assert "Phase complete" in kept(f"aws logs tail {builds[0]['logs']['groupName']} --since 1h")


def test_git_clones_and_pushes_with_the_clis_credentials(kept, name, tmp_path):
    git = "git -c credential.helper='!aws codecommit credential-helper --ignore-host-check $@' -c credential.UseHttpPath=true"
    url = kept(
        f"aws codecommit get-repository --repository-name {name} --query repositoryMetadata.cloneUrlHttp --output text"
    ).strip()
    kept(f"{git} clone -q {url} {tmp_path}/clone")
    kept(
        f"cd {tmp_path}/clone && git checkout -q -b idea && git -c user.name=a -c user.email=a@b.c "
        f"commit -q --allow-empty -m idea && {git} push -q origin idea"
    )

    branch = json.loads(kept(f"aws codecommit get-branch --repository-name {name} --branch-name idea"))["branch"]
    assert branch["commitId"] == kept(f"git -C {tmp_path}/clone rev-parse HEAD").strip()


def test_git_without_credentials_is_refused(kept, name, tmp_path):
    url = kept(
        f"aws codecommit get-repository --repository-name {name} --query repositoryMetadata.cloneUrlHttp --output text"
    ).strip()

    said = kept(f"GIT_TERMINAL_PROMPT=0 git -c credential.helper= clone -q {url} {tmp_path}/clone", code=128)
    assert "could not read Username" in said


def test_a_pull_request_is_tested_and_publishes_nothing(kept, name):
    project_id = "p-" + name.rsplit("-p-", 1)[1]
    kept(
        "aws codecommit create-pull-request --title idea "
        f"--targets repositoryName={name},sourceReference=idea,destinationReference=main"
    )
    project = f"sagemaker-{project_id}-pull-request"

    def ended() -> dict | None:
        ids = json.loads(kept(f"aws codebuild list-builds-for-project --project-name {project}"))["ids"]
        if not ids:
            return None
        build = json.loads(kept(f"aws codebuild batch-get-builds --ids {ids[0]}"))["builds"][0]
        return build if build["buildStatus"] != "IN_PROGRESS" and "endTime" in build else None

    build = wait_for(ended, 90)
    log = kept(
        f"aws logs filter-log-events --log-group-name {build['logs']['groupName']} --query 'events[].message' --output text"
    )
    assert build["buildStatus"] == "SUCCEEDED"
    assert "a pull request is tested, not published" in log


def test_the_cli_approves_and_the_endpoint_answers(kept, name, tmp_path):
    package = kept(
        f"aws sagemaker list-model-packages --model-package-group-name {name} "
        "--query 'ModelPackageSummaryList[0].ModelPackageArn' --output text"
    ).strip()
    kept(f"aws sagemaker update-model-package --model-package-arn {package} --model-approval-status Approved")
    kept(
        f"aws sagemaker-runtime invoke-endpoint --endpoint-name {name}-staging --content-type application/json "
        f"""--body "$(printf '{{"inputs": ["my card was charged twice"]}}' | base64)" {tmp_path}/answer.json"""
    )

    answer = json.loads((tmp_path / "answer.json").read_text())
    assert set(answer[0]["scores"]) == {"delivery", "payment", "praise", "product"}
    refused = kept(
        f"aws sagemaker-runtime invoke-endpoint --endpoint-name {name}-staging --content-type image/png "
        f"--body aGk= {tmp_path}/answer.json",
        code=254,
    )
    assert "ModelError" in refused
    assert "content type image/png is not served" in refused


def test_a_second_rehearsal_says_that_one_is_up(kept, name):
    done = make("rehearse", TASK="nlp")

    assert done.returncode == 2
    assert "a rehearsal is up at http://127.0.0.1:" in done.stderr
    assert "End it first with: make rehearse-down" in done.stderr


# --- Ctrl-C -----------------------------------------------------------------------------------------------------------


def test_ctrl_c_ends_everything_that_was_started(tmp_path):
    before = running(), folders()
    process = subprocess.Popen(
        [sys.executable, "-m", "rehearsal", "play"],
        cwd=ROOT,
        env=os.environ | {"TASK": "nlp"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    for line in process.stdout:
        if "git clone" in line:  # the first build runs by now
            break
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)

    assert process.returncode == 130
    assert said.endswith("stopped: everything that was started has ended\n")
    wait_for(lambda: (running(), folders()) == before, 10)


def test_rehearse_down_with_nothing_up_says_so():
    server.forget()

    assert make("rehearse-down").stdout == "no rehearsal is up\n"


# --- real data ----------------------------------------------------------------------------------------------------------

REAL = {
    "womens_reviews/reviews.csv": ("nlp", "reviews.toml"),
    "mlma": ("nlp", "moderation.toml"),
    "birds20": ("cv", "birds.toml"),
}


@pytest.mark.parametrize("data", REAL)
def test_real_data_trains_deploys_and_predicts(data):
    source = ROOT.parent / "shared/data" / data
    if not source.exists():
        pytest.skip(f"{source} is not here: real data is not part of the repository")
    variant, settings = REAL[data]
    done = make("rehearse", TASK=variant, DATA=str(source), SETTINGS=f"docs/settings/{settings}")

    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"ok prediction", done.stdout)
    assert "nothing is left" in done.stdout
