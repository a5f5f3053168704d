"""Starts and ends the played AWS, and remembers one that was left up."""

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
class PlayedAws:
    """A running play: where it answers, with which root credentials, and what it uses on this machine."""

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
        """Of the account's root: the platform engineer's, before there is anything else."""
        return {"aws_access_key_id": ACCOUNT, "aws_secret_access_key": self.secret}

    def client(
        self, service: str, credentials: dict[str, str] | None = None, config: Config | None = None
    ) -> "boto3.client":
        """A boto3 client of the play."""
        return boto3.client(
            service,
            region_name=REGION,
            endpoint_url=self.endpoint,
            config=config or Config(retries={"max_attempts": 2}, read_timeout=300),
            **(credentials or self.credentials()),
        )

    def session(self, credentials: dict[str, str] | None = None) -> "boto3.Session":
        """A boto3 session whose clients have to be told the endpoint."""
        return boto3.Session(region_name=REGION, **(credentials or self.credentials()))

    def environment(self, credentials: dict[str, str] | None = None) -> dict[str, str]:
        """The variables by which an AWS CLI and git reach the play."""
        chosen = credentials or self.credentials()
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_DEFAULT_REGION": REGION,
            **NO_PROFILES,
            **{name.upper(): value for name, value in chosen.items()},
        }

    def interrupt_spot_training(self, name_contains: str) -> None:
        """Have spot take the instance of the first such training job away, once it trains. No AWS API: the play's own.

        Of the managed spot training jobs, running or to come, it is the first whose name contains the text.
        """
        body = json.dumps({"NameContains": name_contains}).encode()
        request = AWSRequest("POST", f"{self.endpoint}/rehearsal/spot-interruptions", data=body)
        SigV4Auth(Credentials(ACCOUNT, self.secret), "rehearsal", REGION).add_auth(request)
        signed = urllib.request.Request(request.url, data=body, headers=dict(request.headers), method="POST")
        urllib.request.urlopen(signed, timeout=10).close()

    def end(self) -> None:
        """End the play and every process that it started, and remove its folder."""
        try:
            os.kill(self.pid, signal.SIGTERM)
            deadline = time.monotonic() + END_SECONDS
            while alive(self.pid) and time.monotonic() < deadline:
                time.sleep(0.05)
        except (ProcessLookupError, PermissionError):
            pass
        # What hangs on ministack's threads, and what builds, jobs and functions have started in groups of their own.
        end_traces(Path(self.folder))


def end_traces(folder: Path) -> None:
    """End every process that a rehearsal started, remove its folder, and forget that it was started."""
    traces.end_processes(folder.name)
    traces.remove_folder(folder)
    state_of(folder).unlink(missing_ok=True)


def state_of(folder: Path) -> Path:
    """The file that notes a rehearsal from before its start until its end."""
    return STATE / f"{folder.name}.json"


def note(state: dict) -> None:
    """Write down what is about to be started, whole or not at all."""
    STATE.mkdir(exist_ok=True)
    path = state_of(Path(state["folder"]))
    path.with_suffix(".new").write_text(json.dumps(state))
    path.with_suffix(".new").replace(path)


def end_orphans() -> int:
    """End what rehearsals of this clone left whose own process was killed; return their number."""
    kept = json.loads((STATE / "kept.json").read_text())["folder"] if (STATE / "kept.json").exists() else None
    ended = 0
    for path in sorted(STATE.glob(f"{traces.PREFIX}*.json")):
        try:
            state = json.loads(path.read_text())
        except FileNotFoundError:
            continue  # it has just ended
        folder = Path(state["folder"])
        owner_lives = traces.started(state["owner"]) == state["owner_started"]
        if folder.name == path.stem and not owner_lives and str(folder) != kept:
            end_traces(folder)
            ended += 1
    return ended


def start(port: int | None = None) -> PlayedAws:
    """Start the play on a port, or on a free one. Raises ValueError for one in use, RuntimeError when it fails."""
    if port is not None and in_use(port):
        raise ValueError(f"port {port} is in use. Choose another with PORT=, or end what listens there.")
    chosen = port or free_port()
    folder = str(Path(tempfile.gettempdir()) / f"{traces.PREFIX}{secrets.token_hex(6)}")
    note({"folder": folder, "owner": os.getpid(), "owner_started": traces.started(os.getpid())})
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
    played = PlayedAws(chosen, process.pid, folder, secret)
    try:
        deadline = time.monotonic() + START_SECONDS
        while not ("ready" in played.log.read_text().splitlines() and in_use(chosen)):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the played AWS did not start:\n{played.log.read_text()[-2000:]}")
            time.sleep(0.02)
    except BaseException:  # Ctrl-C too
        played.end()
        raise
    return played


def claim() -> TextIO:
    """Take the one place of a kept rehearsal while the file is open. Raises ValueError where another has it.

    The kernel frees the lock of a process that has died.
    """
    STATE.mkdir(exist_ok=True)
    file = (STATE / "kept.lock").open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise ValueError("another rehearsal with KEEP=1 runs from this clone. Wait for its end, or end it.") from None
    return file


def remember(played: PlayedAws) -> None:
    """Note a play that is left up, for `make rehearse-down`."""
    STATE.mkdir(exist_ok=True)
    forget()
    with os.fdopen(os.open(STATE / "kept.json", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(asdict(played), file)


def recall() -> PlayedAws | None:
    """The play that was left up, if it still is."""
    path = STATE / "kept.json"
    if not path.exists():
        return None
    try:
        played = PlayedAws(**json.loads(path.read_text()))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} is damaged: {error}. Remove it, and end what still runs by hand.") from error
    if alive(played.pid) and f"rehearsal.aws --port {played.port} --folder {played.folder}\n" in command_line(
        played.pid
    ):
        return played
    end_traces(Path(played.folder))  # it died, perhaps with the machine; its number may be another's
    forget()
    return None


def forget() -> None:
    """Forget the play that was left up."""
    (STATE / "kept.json").unlink(missing_ok=True)


def alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
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
    """What a process was started with."""
    return subprocess.run(
        ["ps", "-ww", "-o", "args=", "-p", str(pid)], capture_output=True, text=True, check=False
    ).stdout


def in_use(port: int) -> bool:
    """Whether something listens on a port of the loopback interface."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
