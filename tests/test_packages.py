"""Packages for jobs without internet: the build downloads and uploads them, resuming an upload, and pip finds them."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from build.assemble import assemble, write


@pytest.fixture
def repository(tmp_path) -> Path:
    """Return an assembled repository whose jobs need one small package."""
    folder = tmp_path / "repository"
    write(assemble("nlp"), folder)
    (folder / "src/requirements.txt").write_text("six==1.17.0 # the smallest\n")
    return folder


def publish(repository: Path, emulator, bucket: str) -> str:
    """Write the definition as the build of a project in a VPC does, publish it, and return the output of that."""
    network = {"PROJECT_SUBNET_IDS": "subnet-00000001", "PROJECT_SECURITY_GROUP_IDS": "sg-00000001"}
    environment = {**os.environ, **emulator.environment(), **network, "PROJECT_BUCKET": bucket}

    def run(*command: str) -> str:
        given = {"cwd": repository, "env": environment, "capture_output": True, "text": True, "check": False}
        done = subprocess.run([sys.executable, *command], **given)
        assert done.returncode == 0, done.stderr
        return done.stdout

    (repository / "pipeline.json").write_text(run("pipeline.py"))
    return run("-m", "spotkit.definition.bundle", "publish")


def test_wheels_are_uploaded_once_and_an_upload_that_stopped_is_taken_up(repository, emulator):
    s3, bucket = emulator.client("s3"), "packages-111122223333"
    s3.create_bucket(Bucket=bucket)

    def names() -> dict[str, str]:
        listed = s3.list_objects_v2(Bucket=bucket, Prefix="code/packages/").get("Contents", [])
        return {found["Key"].rpartition("/")[2]: found["Key"] for found in listed}

    publish(repository, emulator, bucket)
    first = names()
    assert list(first) == ["complete.txt", "six-1.17.0-py2.py3-none-any.whl"]
    assert "/code/packages/" in (repository / "pipeline.json").read_text()

    for key in first.values():
        s3.delete_object(Bucket=bucket, Key=key)
    s3.put_object(Bucket=bucket, Key=first["complete.txt"].replace("complete.txt", "half.whl"), Body=b"")
    publish(repository, emulator, bucket)
    assert list(names()) == ["complete.txt", "half.whl", "six-1.17.0-py2.py3-none-any.whl"]
    (line,) = [line for line in publish(repository, emulator, bucket).splitlines() if "/packages/" in line]
    assert line.endswith(": 0 of 3 files uploaded")


def test_a_package_that_cannot_be_had_stops_the_build(repository, emulator, bucket):
    (repository / "src/requirements.txt").write_text("six==999.0\n")

    with pytest.raises(AssertionError, match="error: no wheels of six==999.0 could be downloaded"):
        publish(repository, emulator, bucket)


def wheel(folder: Path, name: str, requires: str = "") -> None:
    """Write a wheel with one module, which may require another package."""
    folder.mkdir(exist_ok=True)
    about = f"{name}-1.0.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n" + (
        f"Requires-Dist: {requires}\n" if requires else ""
    )
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr(f"{name}.py", "here = True\n")
        archive.writestr(f"{about}/METADATA", metadata)
        archive.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{about}/RECORD", "")


def test_a_job_installs_what_its_image_lacks_from_the_folder_alone(repository, tmp_path):
    """The image is a virtual environment with pip only; the variables are those that pipeline.py sets for the job."""
    wheel(tmp_path / "packages", "ours_first", requires="ours-second")
    wheel(tmp_path / "packages", "ours_second")
    (repository / "src/requirements.txt").write_text("ours-first==1.0\n")
    (repository / "src/own.py").write_text("import ours_first, ours_second\nprint(ours_second.here)\n")
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "image")], check=True)

    def run(**variables: str) -> subprocess.CompletedProcess:
        command = [str(tmp_path / "image/bin/python"), "spotkit/jobs/start.py", "src/own.py"]
        environment = {"PATH": os.environ["PATH"], "PIP_NO_INDEX": "1", "OPT_ML": str(tmp_path), **variables}
        return subprocess.run(command, cwd=repository, env=environment, capture_output=True, text=True, check=False)

    assert "No matching distribution found for ours-first==1.0" in run(PIP_FIND_LINKS=str(tmp_path / "nothing")).stderr
    done = run(PIP_FIND_LINKS=str(tmp_path / "packages"))
    assert done.stdout.splitlines() == ["installing ours-first==1.0", "True"], done.stderr
    shutil.rmtree(tmp_path / "packages")
    assert run(PIP_FIND_LINKS=str(tmp_path / "packages")).stdout == "True\n"
