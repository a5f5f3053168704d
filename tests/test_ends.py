"""The user's environment does not redirect a rehearsal, and every process and folder of a rehearsal is removed."""

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from conftest import ROOT

from benchmarks import kills
from rehearsal import server, surroundings, traces
from rehearsal.scenario import git_environment


def test_the_users_settings_of_aws_and_git_are_dropped_and_no_proxy_is_extended():
    hostile = {
        "AWS_PROFILE": "work",
        "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9",
        "AWS_CA_BUNDLE": "/no/such",
        "GIT_DIR": "/no/such",
        "HTTP_PROXY": "http://127.0.0.1:9",
        "no_proxy": "registry.example, 10.0.0.1",
    }

    cleaned = surroundings.clean(hostile)

    assert cleaned == {
        **surroundings.NO_PROFILES,
        "HTTP_PROXY": "http://127.0.0.1:9",
        "NO_PROXY": "registry.example,10.0.0.1,127.0.0.1,localhost",
        "no_proxy": "registry.example,10.0.0.1,127.0.0.1,localhost",
    }


def test_the_git_helper_without_credentials_says_what_to_export():
    done = subprocess.run(
        [sys.executable, "-m", "rehearsal.git_credentials", "get"],
        input="protocol=http\nhost=127.0.0.1:1\npath=v1/repos/x\n",
        cwd=ROOT,
        env=surroundings.clean(os.environ),
        capture_output=True,
        text=True,
    )

    assert done.returncode == 1
    assert done.stderr.startswith("error: no git credentials for 127.0.0.1:1: there are no AWS credentials: export")


@pytest.mark.parametrize("emulator_too", [False, True])
def test_what_a_killed_process_had_started_is_ended_by_down(emulator_too, tmp_path):
    code = "from rehearsal import server; p = server.start(); print(p.folder, p.pid, flush=True); input()"
    owner = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(tmp_path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    folder, pid = owner.stdout.readline().split()
    strayed = subprocess.Popen(
        ["sleep", "600"], env={"REHEARSAL_ID": Path(folder).name, "PATH": os.defpath}, start_new_session=True
    )
    owner.kill()
    owner.wait()
    if emulator_too:
        os.kill(int(pid), signal.SIGKILL)

    down = subprocess.run([sys.executable, "-m", "rehearsal", "down"], cwd=ROOT, capture_output=True, text=True)

    assert "killed rehearsals" in down.stdout
    assert strayed.wait(10) == -signal.SIGKILL
    assert (traces.processes_of(Path(folder).name), Path(folder).exists()) == ([], False)


def test_a_folder_that_no_rehearsal_made_stays(tmp_path):
    folder = tmp_path / "rehearsal-mine"
    folder.mkdir()
    (folder / "thesis.txt").touch()

    with pytest.raises(ValueError, match="was made by no rehearsal"):
        traces.remove_folder(folder)

    assert (folder / "thesis.txt").exists()


def test_what_a_folder_holds_read_only_is_removed_too():
    code = """
import os, tempfile
from pathlib import Path
from rehearsal import traces
if os.getuid() == 0:
    os.setuid(65534)  # to root, nothing is read-only
folder = Path(tempfile.gettempdir()) / f"rehearsal-{os.getpid()}"
traces.make_folder(folder)
(folder / "clone/deep").mkdir(parents=True)
(folder / "clone/deep/file").touch()
(folder / "clone/deep").chmod(0)
(folder / "clone").chmod(0o500)
traces.remove_folder(folder)
print(folder.exists())
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)

    assert (done.stdout, done.stderr) == ("False\n", "")


def test_a_process_without_its_parents_environment_is_found_by_its_parent():
    name = "rehearsal-grandchild"
    parent = subprocess.Popen(
        ["sh", "-c", "env -i setsid sleep 600 & echo $!; wait"],
        env={"REHEARSAL_ID": name, "PATH": os.environ["PATH"]},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    grandchild = int(parent.stdout.readline())

    traces.end_processes(name)

    assert parent.wait(10) == -signal.SIGKILL
    assert traces.started(grandchild) is None


def test_git_of_the_story_is_ended_by_its_mark():
    name = f"rehearsal-git{os.getpid()}"
    emulator = server.Emulator(port=1, pid=os.getpid(), folder=f"/tmp/{name}", secret="none")
    git = subprocess.Popen(
        ["git", "cat-file", "--batch"],
        cwd=ROOT,
        env=git_environment(emulator, {}),
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    )

    traces.end_processes(name)

    assert git.wait(10) == -signal.SIGKILL


def test_two_that_remove_the_same_folder_both_succeed(tmp_path):
    folder = tmp_path / "rehearsal-0123"
    traces.make_folder(folder)
    for number in range(300):
        (folder / f"{number}/deep").mkdir(parents=True)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(traces.remove_folder, [folder] * 4))

    assert not folder.exists()


@pytest.mark.parametrize("text", ["", "[]", '{"folder": "/home"}', '{"folder": "/home", "owner": null}'])
def test_a_damaged_note_is_named(text, tmp_path):
    path = tmp_path / "rehearsal-0123.json"
    path.write_text(text)

    with pytest.raises(ValueError, match="rehearsal-0123.json is damaged: .* Remove it"):
        server.read_note(path)


def test_a_note_that_points_to_another_folder_removes_nothing(tmp_path):
    with pytest.raises(ValueError, match="was made by no rehearsal"):
        server.end_traces(tmp_path)

    assert tmp_path.exists()


def test_what_a_signal_left_of_a_start_is_ended_by_its_own_process(tmp_path):
    begun = "from rehearsal import server; server.start(); server.end_own()"

    done = subprocess.run(
        [sys.executable, "-c", begun],
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
    )

    assert (done.returncode, list(tmp_path.iterdir())) == (0, []), done.stderr


def test_ctrl_c_while_the_modules_are_read_says_one_line():
    process = subprocess.Popen(
        [sys.executable, "-X", "importtime", "-m", "rehearsal", "play"], cwd=ROOT, stderr=subprocess.PIPE, text=True
    )
    while "botocore" not in (line := process.stderr.readline()):
        assert line, "it ended without reading botocore"
    process.send_signal(signal.SIGINT)
    said = [line for line in process.stderr.read().splitlines() if line and not line.startswith("import time:")]

    assert (process.wait(), said) == (130, ["stopped: everything that was started has ended"])


def test_two_rehearsals_that_are_kept_refuse_each_other():
    with server.claim():
        done = subprocess.run(
            [sys.executable, "-m", "rehearsal", "play"],
            cwd=ROOT,
            env=os.environ | {"KEEP": "1", "TASK": "nlp"},
            capture_output=True,
            text=True,
        )

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: another rehearsal with KEEP=1 runs from this clone.")


@pytest.mark.parametrize("moment, which", [("created", "both"), ("built", "its own process"), ("deployed", "both")])
def test_nothing_is_left_of_a_rehearsal_that_is_killed_while_it_builds_runs_or_serves(
    moment, which, tmp_path, monkeypatch
):
    monkeypatch.setenv("TMPDIR", str(tmp_path))

    processes, left = kills.kill(moment, 0.5, which)

    assert processes > 1
    assert left == []
