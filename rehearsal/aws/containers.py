"""Run containers without a container engine: each is a process with its own /opt/ml, as PID 1 where possible.

On Linux, `unshare` gives the process mount and PID namespaces: /opt/ml is its own folder, and its entrypoint gets the
signals. If the kernel does not permit that, paths below /opt/ml are rewritten to the folder, and OPT_ML names it.

A container without network, or in a VPC, also gets a network namespace, from which it reaches only what is relayed. If
the kernel does not permit that, it uses this machine's network. The instances of one job have a network namespace each,
connected by a bridge.
"""

import functools
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from rehearsal import network
from rehearsal.aws import adapter, processes

RELAY = network.__file__
CLUSTER = str(Path(RELAY).with_name("cluster.py"))
INTERFACE = "eth0"  # as on SageMaker's instances
BRIDGE_SECONDS = 20
_lock = threading.Lock()

# Set the hostname to "aws", as on SageMaker's hosts, mount $1 at /opt/ml and the job's hosts file, if there is one, at
# /etc/hosts, and exec the remaining arguments. If the machine has no /opt/ml, replace /opt in the namespace by a tmpfs
# with the entries of /opt mounted again, so that nothing is written to the machine's own /opt.
MOUNT = """
set -e
ml="$1"; shift
hostname aws 2> /dev/null || echo aws > /proc/sys/kernel/hostname 2> /dev/null || true # where the kernel permits
if [ ! -d /opt/ml ]; then
    mkdir -p "$ml/../opt"
    if [ -d /opt ]; then mount --rbind /opt "$ml/../opt"; fi
    mount -t tmpfs tmpfs /opt
    for entry in "$ml/../opt"/*; do
        [ -e "$entry" ] || continue
        if [ -d "$entry" ]; then mkdir "/opt/${entry##*/}"; else : > "/opt/${entry##*/}"; fi
        mount --rbind "$entry" "/opt/${entry##*/}"
    done
    mkdir /opt/ml
fi
mount --bind "$ml" /opt/ml
if [ -f "$ml/../hosts" ]; then mount --bind "$ml/../hosts" /etc/hosts; fi
exec "$@"
"""


@functools.cache
def namespace_command() -> tuple[str, ...]:
    """Return an `unshare` command that works on this machine, or () if none does. Tested once, by mounting /opt/ml."""
    if not shutil.which("unshare"):
        return ()
    for options in ((), ("--map-root-user",)):
        command = ("unshare", *options, "--mount", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc")
        with tempfile.TemporaryDirectory() as folder:
            ml = Path(folder) / "ml"
            ml.mkdir()
            tried = subprocess.run(
                [*command, "sh", "-c", MOUNT, "container", str(ml), "touch", "/opt/ml/it-works"],
                capture_output=True,
                check=False,
            )
            if tried.returncode == 0 and (ml / "it-works").exists():
                return command
    return ()


@functools.cache
def has_networks() -> bool:
    """Return whether a container can have its own network namespace here. Tested once, by running one."""
    command = [*namespace_command(), "--net", sys.executable, RELAY, os.getcwd(), "--", "true"]
    return command[0] == "unshare" and subprocess.run(command, capture_output=True, check=False).returncode == 0


def relay_to_aws() -> str:
    """Return the relay, FROM=TO, by which a container with its own network reaches AWS, as by a VPC's endpoints.

    The first call starts the relay's end in this process.
    """
    with _lock:  # functools.cache would start two relays for jobs that start at the same time
        return _relay_to_aws()


@functools.cache
def _relay_to_aws() -> str:
    port = urlsplit(adapter.endpoint()).port
    network.Relay("unix:aws.sock", f"tcp:{port}").start()
    return f"tcp:{port}=unix:aws.sock"


def start(
    entrypoint: list[str],
    environment: dict[str, str],
    folder: Path,
    emit: Callable[[list[str]], None],
    relays: list[str] | None = None,
    cluster: "Cluster | None" = None,
) -> subprocess.Popen:
    """Start an entrypoint with `folder`/ml as its /opt/ml; with relays, in its own network namespace.

    With a cluster, which needs relays, that network is connected to the cluster's as the host with the folder's name.
    """
    ml = folder / "ml"
    command = namespace_command()
    if relays is not None and has_networks():
        command = (*command, "--net")
        entrypoint = [sys.executable, RELAY, os.getcwd(), *relays, "--", *entrypoint]  # the relays' folder
    if cluster:
        command, entrypoint = cluster.within(command), cluster.plugged(folder, entrypoint)
    if command:
        process = processes.start(
            [*command, "sh", "-c", MOUNT, "container", str(ml), *entrypoint], environment, folder, emit
        )
        process.in_namespace = True
        return process
    rewritten = [argument.replace("/opt/ml", str(ml)) for argument in entrypoint]
    return processes.start(rewritten, {**environment, "OPT_ML": str(ml)}, folder, emit)


def bare_environment() -> dict[str, str]:
    """Return the environment of a process that runs no user code: PATH, and the id of its rehearsal."""
    return {"PATH": os.environ["PATH"], "REHEARSAL_ID": os.environ.get("REHEARSAL_ID", "")}


class Cluster:
    """The network of the instances of one job, which a process keeps open until `end`.

    Raise RuntimeError if it cannot be created.
    """

    def __init__(self, folder: Path, hosts: list[str]):
        self.addresses = {host: f"10.0.0.{number}" for number, host in enumerate(hosts, 1)}
        self.user = [option for option in namespace_command() if option == "--map-root-user"]
        command = ["unshare", *self.user, "--net", sys.executable, CLUSTER, "bridge"]
        said: queue.Queue[list[str]] = queue.Queue()
        self.process = processes.start(command, bare_environment(), folder, said.put)
        try:
            lines = said.get(timeout=BRIDGE_SECONDS)
        except queue.Empty:
            lines = [f"it took more than {BRIDGE_SECONDS} s"]
        if lines != ["ready"]:
            self.end()
            raise RuntimeError(f"the instances have no network: {lines[-1]}")

    def within(self, command: tuple[str, ...]) -> tuple[str, ...]:
        """Return an instance's `unshare` command, run in the cluster's network, which stays open as descriptor 9."""
        user = ("--user", "--preserve-credentials") if self.user else ()
        keep = ("sh", "-c", 'exec 9< /proc/self/ns/net; exec "$@"', "keep")
        command = tuple(option for option in command if option not in self.user)  # mapped already
        return ("nsenter", f"--target={self.process.pid}", *user, "--net", *keep, *command)

    def plugged(self, folder: Path, entrypoint: list[str]) -> list[str]:
        """Write an instance's hosts file; return its entrypoint, preceded by the command that connects its network."""
        names = "".join(f"{address} {host}\n" for host, address in self.addresses.items())
        (folder / "hosts").write_text(f"127.0.0.1 localhost\n{names}")
        port = (folder.name, INTERFACE, self.addresses[folder.name])
        return [sys.executable, CLUSTER, "plug", "9", *port, *entrypoint]

    def end(self) -> None:
        """End the process, and with it the network."""
        processes.end([self.process], 0)


@functools.cache
def has_clusters() -> bool:
    """Return whether instances can have a network between them here. Tested once, by running one."""
    if not has_networks() or not shutil.which("nsenter"):
        return False
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "algo-1"
        (folder / "ml").mkdir(parents=True)
        try:
            cluster = Cluster(folder, [folder.name])
        except RuntimeError:
            return False
        process = start(["true"], bare_environment(), folder, lambda lines: None, [], cluster)
        try:
            return processes.wait(process, BRIDGE_SECONDS) == 0
        except subprocess.TimeoutExpired:
            return False
        finally:
            processes.end([process], 0)
            cluster.end()


def local_path(folder: Path, path: str) -> Path:
    """Return where a path of the container is on this machine. Raise ValueError for a path outside /opt/ml."""
    if not path.startswith("/opt/ml/") or ".." in Path(path).parts:
        raise ValueError(f"{path} is not below /opt/ml")
    return folder / "ml" / path.removeprefix("/opt/ml/")


def remove(folder: Path) -> None:
    """Remove a container's folder."""
    shutil.rmtree(folder, ignore_errors=not os.environ.get("REHEARSAL_DEBUG"))
