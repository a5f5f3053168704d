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


def note(folder: Path) -> None:
    """Write down which rehearsal this process is about to start."""
    owner = os.getpid()
    write_whole(state_of(folder), {"folder": str(folder), "owner": owner, "owner_started": traces.started(owner)})


def write_whole(path: Path, content: dict) -> None:
    """Write a file for this user alone, whole or not at all, whenever the process is killed."""
    STATE.mkdir(exist_ok=True)
    new = path.with_suffix(".new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(content, file)
    new.replace(path)


def states() -> list[tuple[Path, bool, bool]]:
    """Return each noted rehearsal's folder, whether its owner lives, and whether that is this process."""
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
    """Return a rehearsal's folder, its owner's number, and when that began. Raises ValueError for a damaged note."""
    try:
        state = json.loads(path.read_text())
        return Path(state["folder"]), int(state["owner"]), state["owner_started"]
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path} is damaged: {error!r}. Remove it, and end what still runs by hand.") from error


def end_orphans() -> int:
    """End what rehearsals of this clone left whose own process was killed; return their number."""
    dead = [folder for folder, owner_lives, _ in states() if not owner_lives]
    # Read after the owners' ends: what they were to leave up is noted by then.
    kept = kept_folder()
    orphans = [folder for folder in dead if str(folder) != kept]
    for folder in orphans:
        end_traces(folder)
    return len(orphans)


def end_own() -> None:
    """End what this process has started, wherever a signal stopped it, but for what it has left up."""
    kept = kept_folder()
    for folder, _, own in states():
        if own and str(folder) != kept:
            end_traces(folder)


def kept_folder() -> str | None:
    """Return the folder of the rehearsal that was left up, running or not."""
    try:
        return json.loads((STATE / "kept.json").read_text())["folder"]
    except FileNotFoundError:
        return None


def start(port: int | None = None) -> PlayedAws:
    """Start the play on a port, or on a free one. Raises ValueError for one in use, RuntimeError when it fails."""
    if port is not None and in_use(port):
        raise ValueError(f"port {port} is in use. Choose another with PORT=, or end what listens there.")
    chosen = port or free_port()
    folder = str(Path(tempfile.gettempdir()) / f"{traces.PREFIX}{secrets.token_hex(6)}")
    note(Path(folder))
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
    write_whole(STATE / "kept.json", asdict(played))


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
