"""A rehearsal that stays up (KEEP=1): the AWS CLI and git work with it as its last lines say."""

import json
import os
import re
import subprocess

import pytest
from conftest import ROOT, make, wait_for

BIN = ROOT / ".venv/bin"


@pytest.fixture(scope="module")
def kept():
    """Run `make rehearse TASK=nlp KEEP=1`; yield a shell with the exports that it prints. End it afterwards.

    kept(command, code) returns stdout, or stderr if an exit status other than 0 is expected.
    """
    done = make("rehearse", TASK="nlp", KEEP="1")
    assert done.returncode == 0, done.stdout + done.stderr
    exports = dict(re.findall(r"export (\w+)=(\S+)", done.stdout))
    environment = {**os.environ, **exports, "PATH": f"{BIN}:{os.environ['PATH']}", "GIT_CONFIG_GLOBAL": os.devnull}

    def shell(command: str, code: int = 0) -> str:
        ran = subprocess.run(["sh", "-c", command], env=environment, capture_output=True, text=True, check=False)
        assert ran.returncode == code, ran.stdout + ran.stderr
        return ran.stdout if code == 0 else ran.stderr

    shell.git = re.search(r"(?m)^  (git .*) \\\n +clone", done.stdout).group(1)
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


def test_git_clones_and_pushes_as_the_last_lines_say_and_says_nothing(kept, name, tmp_path):
    git = kept.git
    url = kept(
        f"aws codecommit get-repository --repository-name {name} --query repositoryMetadata.cloneUrlHttp --output text"
    ).strip()
    assert kept(f"{git} clone -q {url} {tmp_path}/clone 2>&1") == ""
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
        f"""--body '{{"inputs": ["my card was charged twice"]}}' {tmp_path}/answer.json"""
    )

    answer = json.loads((tmp_path / "answer.json").read_text())
    assert set(answer[0]["scores"]) == {"delivery", "payment", "praise", "product"}
    refused = kept(
        f"aws sagemaker-runtime invoke-endpoint --endpoint-name {name}-staging --content-type image/png "
        f"--body hi {tmp_path}/answer.json",
        code=255,
    )
    assert "ModelError" in refused
    assert "content type image/png is not served" in refused


def test_a_second_rehearsal_says_that_one_is_up(kept, name):
    done = make("rehearse", TASK="nlp")

    assert done.returncode == 2
    assert "a rehearsal is up at http://127.0.0.1:" in done.stderr
    assert "End it first with: make rehearse-down" in done.stderr
