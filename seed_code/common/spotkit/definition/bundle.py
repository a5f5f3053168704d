"""Bundle code, sample data and deployment templates under the hash of their content, and upload them.

    python -m spotkit.definition.bundle publish     upload what is new, then the definition (the build does this)

A step's bundle holds only the files that its script imports and the settings that it reads. So a change to train.py
changes the S3 prefix of Train's code and nothing else, and a change to the README changes no prefix at all.
"""

import ast
import gzip
import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import spotkit
from spotkit import settings

ROOT = Path(spotkit.ROOT)
# The module that each step runs.
SCRIPTS = {"preprocess": "data.preprocess", "train": "training.train", "evaluate": "evaluation.evaluate"}
# The settings that each step's script reads, which are part of its bundle and so of its hash. Keys that are pipeline
# parameters are not listed: every run passes their values.
READS = {
    "preprocess": ("data.columns", "data.label", "data.problem", "data.positive", "data.label_separator", "data.labels", "data.balance",
                   "data.unreadable_share", "data.min_examples", "data.split", "data.group", "data.limit",
                   "data.validation_share", "data.test_share", "data.seed", "task"),
    "train": ("task", "model", "training.weight_decay", "training.warmup_share", "training.schedule", "training.accumulate",
              "training.class_weights", "training.label_smoothing", "training.patience", "training.seed", "training.precision",
              "training.compile", "training.workers", "training.checkpoint_seconds", "gate.metric"),
    "evaluate": ("gate.metric", "gate.not_below_baseline"),
}  # fmt: skip
# Modules that the script needs but does not import: the serving code that Train packs into the model.
BESIDE = {"train": ("spotkit.serving.inference",)}
OF_SCRIPTS = ("data", "task")  # the settings that a script of the team gets
TRACKING = "spotkit/jobs/requirements-tracking.txt"
# Wheels are selected for the jobs' image, not for this machine. With pip, because uv has no download command.
PLATFORMS = [*(f"manylinux_2_{minor}" for minor in range(35, 16, -1)), "manylinux2014"]  # Ubuntu 22.04 has glibc 2.35
IMAGE = ("--python-version=3.12", *(f"--platform={name}_x86_64" for name in PLATFORMS))
PIP = "pip==26.3"
COMPLETE = "complete.txt"  # uploaded last: it marks that all wheels are there
START = "spotkit.jobs.start"
TUNING_SCRIPT = b'import runpy\n\nrunpy.run_module("spotkit.training.train", run_name="__main__")\n'
DEFINITION = ROOT / "pipeline.json"


@dataclass(frozen=True)
class Bundle:
    """Files that are stored under the hash of their names and contents."""

    kind: str
    files: dict[str, bytes]

    @property
    def digest(self) -> str:
        # Hash the pairs of name and hash: a file that is renamed changes the digest, too.
        hashes = {name: hashlib.sha256(content).hexdigest() for name, content in sorted(self.files.items())}
        return hashlib.sha256(json.dumps(hashes).encode()).hexdigest()[:20]

    @property
    def prefix(self) -> str:
        """Prefix of the files in the project's bucket."""
        return f"{self.kind}/{self.digest}"


@dataclass(frozen=True)
class Archive:
    """A bundle as one sourcedir.tar.gz, which the images' training toolkit unpacks: the code of tuning jobs.

    Its prefix is the hash of the files, not of the archive: two versions of zlib compress the same files to different
    bytes.
    """

    content: Bundle

    @property
    def prefix(self) -> str:
        """Prefix of the archive. It is not below the bundle's prefix, which training jobs download completely."""
        return f"code/sourcedir/{self.content.digest}"

    @property
    def files(self) -> dict[str, bytes]:
        """The archive. Equal files give equal bytes: members are sorted, without times and owners."""
        packed = io.BytesIO()
        with (
            gzip.GzipFile(fileobj=packed, mode="wb", filename="", mtime=0) as compressed,
            tarfile.open(fileobj=compressed, mode="w") as archive,
        ):
            for name, body in sorted(self.content.files.items()):
                member = tarfile.TarInfo(name)
                member.size = len(body)
                archive.addfile(member, io.BytesIO(body))
        return {"sourcedir.tar.gz": packed.getvalue()}


@dataclass(frozen=True)
class Packages:
    """Wheels that jobs without internet install from.

    They are stored under the hash of the requirements and the platform, since the definition needs the prefix before
    the wheels are downloaded.
    """

    requirements: tuple[str, ...]

    @property
    def prefix(self) -> str:
        """Prefix of the wheels, known without downloading them."""
        asked = json.dumps([*self.requirements, *IMAGE])
        return f"code/packages/{hashlib.sha256(asked.encode()).hexdigest()[:20]}"

    @property
    def files(self) -> dict[str, bytes]:
        """The wheels of the requirements and of their dependencies. Raises ValueError if pip cannot get one."""
        with tempfile.TemporaryDirectory() as folder:
            pip = [sys.executable, "-m", "uv", "tool", "run", "--quiet", "--python", sys.executable, PIP]
            command = [*pip, "download", "--quiet", "--only-binary=:all:", *IMAGE, "--dest", folder]
            if subprocess.run([*command, *self.requirements], check=False).returncode:
                raise ValueError(
                    f"no wheels of {', '.join(self.requirements)} could be downloaded, which the jobs have to get from "
                    "here: they have no internet. See the lines before this one."
                )
            wheels = {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir())}
        return wheels | {COMPLETE: "\n".join(self.requirements).encode()}


def packages(step: str, chosen: settings.Settings) -> Packages:
    """Return the packages that a step's jobs install; train's include those for tracking, if [tracking] is set."""
    tracked = step == "train" and any(chosen["tracking"].values())
    names = ["src/requirements.txt", *([TRACKING] if tracked else [])]
    lines = [line.split("#")[0].strip() for name in names for line in (ROOT / name).read_text().splitlines()]
    return Packages(tuple(line for line in lines if line))


def code(step: str) -> Bundle:
    """Return the code of a step: its module, all modules that it imports from src/ and spotkit/, and its settings.

    `step` is a key of SCRIPTS, or the path of a team's own script, as in src/report.py.
    """
    found: dict[str, Path] = {}
    script = f"spotkit.{SCRIPTS[step]}" if step in SCRIPTS else Path(step).stem
    for module in (START, *BESIDE.get(step, ()), script):
        add_imported(module, found)
    files = {name: path.read_bytes() for name, path in sorted(found.items())}
    files["requirements.txt"] = (ROOT / "src/requirements.txt").read_bytes()
    if step == "train":
        files[TRACKING] = (ROOT / TRACKING).read_bytes()
    files["spotkit/settings.json"] = json.dumps(
        part(settings.load(), READS.get(step, OF_SCRIPTS)), indent=2, sort_keys=True
    ).encode()
    return Bundle("code", files)


def tuning_code() -> Archive:
    """Return the code of tuning jobs.

    The training toolkit starts a script at the top, and installs requirements.txt only: the tracking packages are
    appended to it.
    """
    train, tracking = code("train"), settings.load()["tracking"]
    files = {**train.files, "train.py": TUNING_SCRIPT}
    if any(tracking.values()):
        files["requirements.txt"] += b"\n" + files[TRACKING]
    return Archive(Bundle(train.kind, files))


def add_imported(module: str, found: dict[str, Path]) -> None:
    """Add a module of src/ or spotkit/, its packages, and everything that they import, to `found`: path by name."""
    for name in [module[:end] for end in (n for n, sign in enumerate(module) if sign == ".")] + [module]:
        path = file_of(name)
        if path is None or (target := target_of(name, path)) in found:
            continue
        found[target] = path
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            else:
                continue
            for imported in names:
                add_imported(imported, found)


def file_of(module: str) -> Path | None:
    """Return the file of a module: in src/, which goes first, or in spotkit/; None for a module of neither."""
    for folder in (ROOT / "src", ROOT):
        path = folder.joinpath(*module.split("."))
        for file in (path.with_name(f"{path.name}.py"), path / "__init__.py"):
            if file.is_file():
                return file
    return None


def target_of(module: str, file: Path) -> str:
    """Return the path of a module's file in a job's code."""
    path = module.replace(".", "/")
    return f"{path}/__init__.py" if file.name == "__init__.py" else f"{path}.py"


def part(chosen: settings.Settings, paths: tuple[str, ...]) -> dict[str, Any]:
    """Return the sections ("task") and single keys ("data.label") of the settings that `paths` names."""
    result: dict[str, Any] = {}
    for path in paths:
        section, _, key = path.partition(".")
        result.setdefault(section, {}).update({key: chosen[section][key]} if key else chosen[section])
    return result


def folder(kind: str) -> Bundle:
    """Return all files below `sample`, or below `deploy`, where files of the team take the place of spotkit's."""
    roots = [ROOT / "spotkit" / kind, ROOT / kind] if kind == "deploy" else [ROOT / kind]
    files = {
        str(path.relative_to(root)): path.read_bytes() for root in roots for path in root.rglob("*") if path.is_file()
    }
    return Bundle(kind, dict(sorted(files.items())))


def upload(s3: Any, bucket: str, prefix: str, files: dict[str, bytes]) -> None:
    """Upload files; COMPLETE goes last, so that it is never there without the others."""

    def put(name: str) -> None:
        s3.put_object(Bucket=bucket, Key=f"{prefix}/{name}", Body=files[name])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(put, [name for name in files if name != COMPLETE]))
    if COMPLETE in files:
        put(COMPLETE)


def publish(bucket: str) -> None:
    """Upload the bundles, as far as S3 lacks their files, and then the definition that refers to them.

    The arrival of the definition starts the pipeline.
    """
    import boto3

    s3, chosen, definition = boto3.client("s3"), settings.load(), DEFINITION.read_bytes()
    scripts = [code(str(path.relative_to(ROOT))) for path in sorted((ROOT / "src").glob("*.py"))]
    bundles = [*map(code, READS), *(each for each in scripts if each.prefix.encode() in definition)]
    bundles += [folder("sample"), folder("deploy")]
    if chosen["tuning"]["jobs"]:
        bundles.append(tuning_code())
    wheels = dict.fromkeys(packages(step, chosen) for step in READS)  # steps share them unless training is tracked
    bundles += [each for each in wheels if each.prefix.encode() in definition]
    for bundle in bundles:
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{bundle.prefix}/")
        there = {found["Key"].removeprefix(f"{bundle.prefix}/") for page in pages for found in page.get("Contents", [])}
        # If COMPLETE is there, do not evaluate `files`: it would download all wheels.
        missing = {} if COMPLETE in there else {n: body for n, body in bundle.files.items() if n not in there}
        upload(s3, bucket, bundle.prefix, missing)
        counts = f"{len(missing)} of {len(missing.keys() | there)}"
        print(f"s3://{bucket}/{bundle.prefix}: {counts} files uploaded", flush=True)
    s3.put_object(Bucket=bucket, Key="pipeline/pipeline.json", Body=definition)
    print(f"s3://{bucket}/pipeline/pipeline.json", flush=True)


if __name__ == "__main__":
    if sys.argv[1:] != ["publish"]:
        sys.exit(__doc__)
    try:
        publish(os.environ["PROJECT_BUCKET"])
    except ValueError as error:
        sys.exit(f"error: {error}")
