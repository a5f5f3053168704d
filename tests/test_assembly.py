"""The repository that a team receives: common/ and one variant, merged."""

import ast
import hashlib
import importlib.metadata
import re
import subprocess
import sys
from graphlib import TopologicalSorter
from importlib.metadata import packages_distributions
from pathlib import Path

import pyarrow
import pytest

from build import ROOT, VARIANTS, VERSION
from build.assemble import assemble, git, tracked, write

LANDED = """
    Makefile README.md SEED buildspec.yml pipeline.py pyproject.toml requirements.txt settings.toml .gitignore
    deploy/production.json deploy/staging.json src/requirements.txt src/task.py
    spotkit/__init__.py spotkit/manifest.py spotkit/protocols.py spotkit/settings.py spotkit/deploy/endpoint.yaml
    spotkit/data/__init__.py spotkit/data/examples.py spotkit/data/lookalikes.py spotkit/data/preprocess.py
    spotkit/data/tables.py
    spotkit/training/__init__.py spotkit/training/checkpoints.py spotkit/training/distributed.py
    spotkit/training/tracking.py spotkit/training/train.py
    spotkit/evaluation/__init__.py spotkit/evaluation/baseline.py spotkit/evaluation/bootstrap.py
    spotkit/evaluation/evaluate.py spotkit/evaluation/metrics.py spotkit/evaluation/plain.py
    spotkit/evaluation/plots.py spotkit/evaluation/report.py spotkit/evaluation/scoring.py
    spotkit/serving/__init__.py spotkit/serving/inference.py spotkit/serving/media.py
    spotkit/jobs/__init__.py spotkit/jobs/job.py spotkit/jobs/meeting.py spotkit/jobs/start.py
    spotkit/definition/__init__.py spotkit/definition/bundle.py spotkit/definition/limits.py
    spotkit/definition/places.py spotkit/definition/sdk.py spotkit/definition/steps.py
    spotkit/checks/__init__.py spotkit/checks/__main__.py spotkit/checks/definition.py spotkit/checks/deployment.py
    spotkit/checks/graph.py spotkit/checks/parameters.py spotkit/checks/policy.py spotkit/checks/problems.py
    spotkit/checks/project.py
    spotkit/checks/reading.py spotkit/checks/rulebook.py spotkit/checks/rules.py spotkit/checks/service.py spotkit/checks/shape.py
    spotkit/checks/types.py
    spotkit/jobs/requirements-tracking.txt spotkit/checks/schema.json
    tests/conftest.py tests/test_contract.py tests/test_settings.py tests/test_task.py tests/tiny.py
""".split()
OF_VARIANT = {
    "cv": """
        spotkit/data/pictures.py spotkit/data/pixels.py spotkit/training/augment.py spotkit/training/backbones.py
    """.split(),
    "nlp": """
        spotkit/data/texts.py spotkit/data/tokens.py spotkit/training/encoders.py spotkit/training/ngrams.py
    """.split(),
}
MAX_LINES, MAX_TASK, MAX_PIPELINE = 900, 200, 120  # that a team owns, and of two files that it reads first


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_landed_tree_is_the_one_that_the_readme_shows(variant):
    files = assemble(variant)

    assert sorted(name for name in files if not name.startswith("sample/")) == sorted([*LANDED, *OF_VARIANT[variant]])
    assert any(name.startswith("sample/") for name in files)


@pytest.mark.parametrize("variant", VARIANTS)
def test_what_a_team_owns_is_small(variant):
    others = ("sample/", "spotkit/", "SEED", "requirements.txt", ".gitignore")
    lines = {name: content.count(b"\n") for name, content in assemble(variant).items() if not name.startswith(others)}

    assert {"src/task.py", "pipeline.py", "README.md", "tests/test_task.py"} < lines.keys()
    assert sum(lines.values()) < MAX_LINES
    assert lines["src/task.py"] <= MAX_TASK
    assert lines["pipeline.py"] <= MAX_PIPELINE


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_file_lands_once_and_unchanged(variant):
    landed = assemble(variant)
    del landed["SEED"]

    common, own = (tracked(ROOT / "seed_code" / name) for name in ("common", variant))
    del own["variant.toml"]  # for the bundle
    assert landed == {**common, **own}
    assert not common.keys() & own.keys()


@pytest.fixture
def clone(tmp_path) -> Path:
    """Clone this repository, so that a test can add files while other tests assemble from the original."""
    git("clone", "--quiet", "--shared", str(ROOT), str(tmp_path / "clone"))
    return tmp_path / "clone"


def assemble_in(clone: Path, into: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "build", "assemble", "nlp", into]
    return subprocess.run(command, cwd=clone, capture_output=True, text=True, check=False)


def test_a_path_in_common_and_in_a_variant_is_an_error(clone):
    (clone / "seed_code/nlp/buildspec.yml").write_text("version: 0.2\n")
    git("-C", str(clone), "add", "--intent-to-add", "seed_code/nlp/buildspec.yml")

    said = assemble_in(clone, "landed").stderr

    assert said == "error: in both common/ and nlp/: buildspec.yml. Keep one of them.\n"


def test_what_git_does_not_track_does_not_land(clone):
    (clone / "seed_code/nlp/notes.txt").write_text("mine\n")

    assert assemble_in(clone, "landed").returncode == 0
    assert not (clone / "landed/notes.txt").exists()
    assert (clone / "landed/README.md").exists()


def test_seed_says_what_the_repository_was_made_from():
    files = assemble("cv")
    lines = dict(line.split(" = ") for line in files["SEED"].decode().splitlines())

    package = {name: hashlib.sha256(files[name]).hexdigest() for name in files if name.startswith("spotkit/")}
    assert lines == {"variant": "cv", "version": VERSION, "commit": git("rev-parse", "HEAD").strip(), **package}
    assert len(package) > 50


def test_a_folder_with_something_in_it_is_not_written_over(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")

    with pytest.raises(ValueError, match="is not empty. Name a new folder."):
        write({"README.md": b""}, tmp_path)


def imported_by(source: bytes) -> set[str]:
    tree = ast.parse(source)
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
    return {name.split(".")[0] for name in names}


@pytest.mark.parametrize("variant", VARIANTS)
def test_landed_imports_resolve_to_the_repository_or_its_requirements(variant):
    files = assemble(variant)
    required = {line.split("==")[0] for line in files["requirements.txt"].decode().splitlines() if "==" in line}
    installed = packages_distributions()
    own = {Path(name).stem for name in files if name.endswith(".py")} | {"spotkit"}
    tracking = {"mlflow", "wandb"}  # of requirements-tracking.txt; tests/test_tracking.py imports them

    outside = {
        (name, module)
        for name, source in files.items()
        if name.endswith(".py")
        for module in imported_by(source) - own - tracking - set(sys.stdlib_module_names)
        if not required & {found.lower().replace("_", "-") for found in installed.get(module, [])}
    }
    assert outside == set()


def test_nobody_imports_what_is_not_theirs():
    """Seeds import nothing of ours but spotkit; functions and builds import, of spotkit, its checks."""
    ours = {"build", "rehearsal", "spotkit", "tests"}
    listed = subprocess.run(["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, text=True, check=True)
    found = {name: imported_by((ROOT / name).read_bytes()) & ours for name in listed.stdout.split()}
    allowed = {
        "seed_code": {"spotkit"},
        "lambda": {"spotkit"},
        "build": {"build", "spotkit"},
        "benchmarks": ours,
        "rehearsal": ours,
        "tests": ours,
    }

    assert len(found) > 30
    assert {name: names for name, names in found.items() if not names <= allowed[name.split("/")[0]]} == {}


def imports_in_spotkit(files: dict[str, bytes]) -> dict[str, set[str]]:
    """Return the modules of spotkit and task that each module of spotkit, and task, imports, by dotted names."""
    modules = {
        name.removesuffix(".py").removesuffix("/__init__").removeprefix("src/").replace("/", "."): ast.parse(content)
        for name, content in files.items()
        if name.endswith(".py") and name.startswith(("spotkit/", "src/"))
    }
    found: dict[str, set[str]] = {name: set() for name in modules}
    for name, tree in modules.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module:
                whole = {f"{node.module}.{alias.name}" for alias in node.names} & modules.keys()
                found[name] |= whole or ({node.module} & modules.keys())
            elif isinstance(node, ast.Import):
                found[name] |= {alias.name for alias in node.names} & modules.keys()
    return found


@pytest.mark.parametrize("variant", VARIANTS)
def test_imports_in_spotkit_go_one_way(variant):
    """As the picture in docs/architecture.md shows: scripts, then task.py, then what both use."""
    found = imports_in_spotkit(assemble(variant))
    scripts = {"data.preprocess", "training.train", "evaluation.evaluate", "serving.inference"}
    scripts = {f"spotkit.{name}" for name in scripts}

    assert len(list(TopologicalSorter(found).static_order())) == len(found)  # raises CycleError for a circle
    below = found["task"] | {far for near in found["task"] for far in found[near]}
    assert len(below) > 5
    assert not below & {"task", *scripts}
    for name, others in found.items():
        if name.startswith("spotkit.checks"):
            assert {other for other in others if not other.startswith("spotkit.checks")} <= {"spotkit"}
        if not name.startswith("spotkit.definition"):
            assert not {other for other in others if other.startswith("spotkit.definition")}
        if not name.startswith("spotkit.definition"):
            assert not others & scripts


def test_what_jobs_install_is_what_the_build_tested_and_goes_with_the_images_numpy():
    """The training image pins NumPy below 2: a package that requires 2 would fail only in AWS."""
    locked = (ROOT / "seed_code/common/requirements.txt").read_text()
    pins = dict(re.findall(r"(?m)^([\w.-]+)==([\w.]+)(?: ;[^\\\n]*)? \\$", locked))
    installed = re.findall(r"(?m)^([\w-]+)==([\w.]+)", (ROOT / "seed_code/common/src/requirements.txt").read_text())

    assert len(installed) == 3
    assert [(name, version) for name, version in installed if pins[name] != version] == []
    assert re.findall(r"(?m)^numpy==(1\.\S+) ; python_full_version < '3\.13'", locked) == ["1.26.4"]
    if sys.version_info < (3, 13):
        assert importlib.metadata.version("numpy") == "1.26.4"
    assert pyarrow.array([1, 2]).to_numpy().tolist() == [1, 2]  # pyarrow 26 raises here with NumPy 1
