"""Start and end the emulator, and record each rehearsal, so that one that was killed or left up can be ended later."""

import fcntl
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TextIO

import boto3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials

from rehearsal import traces
from rehearsal.loopback import free_port
from rehearsal.surroundings import NO_PROFILES, clean

ROOT = Path(__file__).parent.parent
EMULATOR = ROOT / ".venv/emulator/bin/python"
STATE = ROOT / ".rehearsal"
ACCOUNT, REGION = "111122223333", "us-east-1"
START_SECONDS = 60
END_SECONDS = 10


@dataclass(frozen=True)
class Emulator:
    """A running emulator: its port, process id, folder and root secret key."""

    port: int
    pid: int
    folder: str
    secret: str

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        return Path(self.folder) / "aws.log"

    def credentials(self) -> dict[str, str]:
        """Return the root credentials of the account, which the platform engineer starts with."""
        return {"aws_access_key_id": ACCOUNT, "aws_secret_access_key": self.secret}

    def client(
        self, service: str, credentials: dict[str, str] | None = None, config: Config | None = None
    ) -> "boto3.client":
        """Return a boto3 client for the emulator, with root credentials unless others are given."""
        return boto3.client(
            service,
            region_name=REGION,
            endpoint_url=self.endpoint,
            config=config or Config(retries={"max_attempts": 2}, read_timeout=300),
            **(credentials or self.credentials()),
        )

    def session(self, credentials: dict[str, str] | None = None) -> "boto3.Session":
        """Return a boto3 session, with root credentials unless others are given. Its clients need `endpoint_url`."""
        return boto3.Session(region_name=REGION, **(credentials or self.credentials()))

    def environment(self, credentials: dict[str, str] | None = None) -> dict[str, str]:
        """Return the environment variables with which the AWS CLI and git reach the emulator."""
        chosen = credentials or self.credentials()
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_DEFAULT_REGION": REGION,
            **NO_PROFILES,
            **{name.upper(): value for name, value in chosen.items()},
        }

    def interrupt_spot_training(self, name_contains: str) -> None:
        """Interrupt a managed spot training job once it trains. This is the emulator's own API: AWS has none.

        It is the first job, running or future, whose name contains the text.
        """
        body = json.dumps({"NameContains": name_contains}).encode()
        request = AWSRequest("POST", f"{self.endpoint}/rehearsal/spot-interruptions", data=body)
        SigV4Auth(Credentials(ACCOUNT, self.secret), "rehearsal", REGION).add_auth(request)
        signed = urllib.request.Request(request.url, data=body, headers=dict(request.headers), method="POST")
        urllib.request.urlopen(signed, timeout=10).close()

    def end(self) -> None:
        """End the emulator and every process that it started, and remove its folder."""
        try:
            os.kill(self.pid, signal.SIGTERM)
            deadline = time.monotonic() + END_SECONDS
            while alive(self.pid) and time.monotonic() < deadline:
                time.sleep(0.05)
        except (ProcessLookupError, PermissionError):
            pass
        # ministack's threads can keep its process alive, and builds, jobs and functions run in process groups of
        # their own: kill what is left.
        end_traces(Path(self.folder))


def end_traces(folder: Path) -> None:
    """Kill every process that a rehearsal started, and remove its folder and its record."""
    traces.end_processes(folder.name)
    traces.remove_folder(folder)
    state_of(folder).unlink(missing_ok=True)


def state_of(folder: Path) -> Path:
    """Return the path of the file that records a rehearsal from before its start until its end."""
    return STATE / f"{folder.name}.json"


def note(folder: Path) -> None:
    """Record the rehearsal that this process is about to start, with this process as its owner."""
    owner = os.getpid()
    write_whole(state_of(folder), {"folder": str(folder), "owner": owner, "owner_started": traces.started(owner)})


def write_whole(path: Path, content: dict) -> None:
    """Write a JSON file atomically (complete, or absent if the process is killed), accessible to this user only."""
    STATE.mkdir(exist_ok=True)
    new = path.with_suffix(".new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(content, file)
    new.replace(path)


def states() -> list[tuple[Path, bool, bool]]:
    """Return each recorded rehearsal's folder, whether its owner is alive, and whether this process is the owner."""
    listed = []
    for path in sorted(STATE.glob(f"{traces.PREFIX}*.json")):
        try:
            folder, owner, began = read_note(path)
        except FileNotFoundError:
            continue  # it has just ended
        if folder.name == path.stem:
            lives = traces.started(owner) == began
            listed.append((folder, lives, lives and owner == os.getpid()))
    return listed


def read_note(path: Path) -> tuple[Path, int, str]:
    """Return a rehearsal's folder, its owner's PID, and when the owner started.

    Raises ValueError for a damaged record.
    """
    try:
        state = json.loads(path.read_text())
        return Path(state["folder"]), int(state["owner"]), state["owner_started"]
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path} is damaged: {error!r}. Remove it, and end what still runs by hand.") from error


def end_orphans() -> int:
    """Clean up after rehearsals of this clone whose owner was killed; return how many there were."""
    dead = [folder for folder, owner_lives, _ in states() if not owner_lives]
    # Read kept.json after the owners were seen to be dead: whatever they left up is recorded by then.
    kept = kept_folder()
    orphans = [folder for folder in dead if str(folder) != kept]
    for folder in orphans:
        end_traces(folder)
    return len(orphans)


def end_own() -> None:
    """Clean up the rehearsals that this process started, at whatever point a signal came, except one left up."""
    kept = kept_folder()
    for folder, _, own in states():
        if own and str(folder) != kept:
            end_traces(folder)


def kept_folder() -> str | None:
    """Return the folder of the rehearsal that was left up, whether or not it still runs; None if there is none."""
    try:
        return json.loads((STATE / "kept.json").read_text())["folder"]
    except FileNotFoundError:
        return None


def start(port: int | None = None) -> Emulator:
    """Start the emulator on a port, or on a free one, and return it once it is ready.

    Raises ValueError if the port is in use, RuntimeError if the emulator does not start within START_SECONDS.
    """
    if port is not None and in_use(port):
        raise ValueError(f"port {port} is in use. Choose another with PORT=, or end what listens there.")
    chosen = port or free_port()
    folder = str(Path(tempfile.gettempdir()) / f"{traces.PREFIX}{secrets.token_hex(6)}")
    note(Path(folder))  # before anything exists, so that a kill at any later point leaves a record to clean up by
    traces.make_folder(Path(folder))
    secret = secrets.token_hex(20)
    environment = {
        **clean(os.environ),
        "REHEARSAL_ID": Path(folder).name,
        "AWS_SECRET_ACCESS_KEY": secret,
        "PYTHONPATH": str(ROOT),
        "REHEARSAL_PYTHON": sys.executable,
    }
    with (Path(folder) / "aws.log").open("w") as log:
        process = subprocess.Popen(
            [str(EMULATOR), "-m", "rehearsal.aws", "--port", str(chosen), "--folder", folder],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    emulator = Emulator(chosen, process.pid, folder, secret)
    try:
        deadline = time.monotonic() + START_SECONDS
        while not ("ready" in emulator.log.read_text().splitlines() and in_use(chosen)):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the emulated AWS did not start:\n{emulator.log.read_text()[-2000:]}")
            time.sleep(0.02)
    except BaseException:  # Ctrl-C too
        emulator.end()
        raise
    return emulator


def claim() -> TextIO:
    """Lock the clone's one place for a kept rehearsal until the returned file is closed.

    Raises ValueError if another process holds it. The kernel releases the lock of a process that dies.
    """
    STATE.mkdir(exist_ok=True)
    file = (STATE / "kept.lock").open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise ValueError("another rehearsal with KEEP=1 runs from this clone. Wait for its end, or end it.") from None
    return file


def remember(emulator: Emulator) -> None:
    """Record an emulator that is left up, for `make rehearse-down`."""
    write_whole(STATE / "kept.json", asdict(emulator))


def recall() -> Emulator | None:
    """Return the emulator that was left up, or None; clean up after one that no longer runs.

    Raises ValueError for a damaged record.
    """
    path = STATE / "kept.json"
    if not path.exists():
        return None
    try:
        emulator = Emulator(**json.loads(path.read_text()))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} is damaged: {error}. Remove it, and end what still runs by hand.") from error
    # The PID alone proves nothing: it may have been reused, so compare the command line.
    if alive(emulator.pid) and f"rehearsal.aws --port {emulator.port} --folder {emulator.folder}\n" in command_line(
        emulator.pid
    ):
        return emulator
    end_traces(Path(emulator.folder))  # it died, perhaps in a reboot
    forget()
    return None


def forget() -> None:
    """Remove the record of the emulator that was left up."""
    (STATE / "kept.json").unlink(missing_ok=True)


def alive(pid: int) -> bool:
    """Return whether a process of this user runs. A child that has ended is reaped and does not count."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        pass
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def command_line(pid: int) -> str:
    """Return the command line of a process, with a newline at its end; empty if there is no such process."""
    return subprocess.run(
        ["ps", "-ww", "-o", "args=", "-p", str(pid)], capture_output=True, text=True, check=False
    ).stdout


def in_use(port: int) -> bool:
    """Return whether something listens on a port of the loopback interface."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
