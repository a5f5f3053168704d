"""Wait for the job's other instances before work begins, and set the network interface that connects them.

A job with its own entrypoint does not run the script by which SageMaker's images name each host: gethostname() returns
"aws" everywhere. Gloo would then bind to the loopback interface, and NCCL might choose a link-local address: every host
would wait for the others until the job times out. So both get the interface that SageMaker names, and the hosts meet
first: if one does not come, the job fails after ten minutes, with one sentence.
"""

import os
import socket
import sys
import time

from spotkit.jobs import job

PORT = 7776
SECONDS = 600  # the instances of a job can start minutes apart
GO = b"go"


def join() -> None:
    """Set the interface of Gloo and NCCL, unless it is set, and meet the other hosts; end the job if one is missing."""
    hosts, current = job.hosts()
    if len(hosts) == 1:
        return
    interface = job.network_interface()
    for name in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
        os.environ.setdefault(name, interface)
    try:
        meet(hosts, current, SECONDS)
    except TimeoutError as error:
        message = (
            f"{error} by interface {os.environ['GLOO_SOCKET_IFNAME']}, port {PORT}. In a VPC, the security group has to "
            "let its members talk to each other; otherwise see the logs of the hosts that are missing."
        )
        job.report_failure(message)
        sys.exit(f"error: {message}")


def meet(hosts: list[str], current: str, seconds: float) -> None:
    """Return when every host is there. Raise TimeoutError, with the names of the missing ones, if time is up."""
    deadline = time.monotonic() + seconds
    if current == hosts[0]:
        gather(hosts, deadline, seconds)
    else:
        arrive(hosts[0], current, deadline, seconds)


def gather(hosts: list[str], deadline: float, seconds: float) -> None:
    """Receive the name of every other host, then release all of them. The first host calls this."""
    arrived: dict[str, socket.socket] = {}
    with socket.create_server((hosts[0], PORT)) as server:
        while missing := [host for host in hosts[1:] if host not in arrived]:
            try:
                server.settimeout(max(0.001, deadline - time.monotonic()))
                connection, _ = server.accept()
                connection.settimeout(max(0.001, deadline - time.monotonic()))
                arrived[connection.recv(256).decode()] = connection
            except TimeoutError:
                raise TimeoutError(f"{', '.join(missing)} did not come to {hosts[0]} within {seconds:.0f} s") from None
            except (OSError, UnicodeDecodeError):
                continue  # not a host of this job, or one that will try again
        for connection in arrived.values():
            with connection:
                connection.sendall(GO)


def arrive(first: str, current: str, deadline: float, seconds: float) -> None:
    """Send this host's name to the first host, and wait to be released.

    Try again until the first host listens. Raise TimeoutError if it never does.
    """
    while (left := deadline - time.monotonic()) > 0:
        try:
            with socket.create_connection((first, PORT), timeout=min(left, 10)) as connection:
                connection.sendall(current.encode())
                connection.settimeout(left + 10)  # let the first host fail first: its message names the missing hosts
                if connection.recv(len(GO)) == GO:
                    return
        except OSError:
            pass  # the first host's name does not resolve yet, or it does not listen yet
        time.sleep(0.5)
    raise TimeoutError(f"{current} waited {seconds:.0f} s for {first}")
