"""Wait for the job's other instances before the work begins, and say by which interface they are reached.

A job that starts by its own entrypoint does not run the script by which SageMaker's images give each host its name:
gethostname() is "aws" everywhere. Gloo would then bind to the loopback interface, and NCCL might take a link-local
address, and every host would wait for the others until the job's time is over. So both get the interface that SageMaker
names, and the hosts meet first: one that does not come fails the job in ten minutes, with one sentence.
"""

import os
import socket
import sys
import time

import job

PORT = 7776
SECONDS = 600  # instances of one job can start minutes apart
GO = b"go"


def join() -> None:
    """Set the interface of Gloo and NCCL, unless somebody has, and meet the other hosts; end the job if one is missing."""
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
    """Return when every host is there. Raises TimeoutError that names those that are not."""
    deadline = time.monotonic() + seconds
    if current == hosts[0]:
        gather(hosts, deadline, seconds)
    else:
        arrive(hosts[0], current, deadline, seconds)


def gather(hosts: list[str], deadline: float, seconds: float) -> None:
    """Take the name of every other host, and then let all of them go."""
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
                continue  # it was not one of ours, or comes again
        for connection in arrived.values():
            with connection:
                connection.sendall(GO)


def arrive(first: str, current: str, deadline: float, seconds: float) -> None:
    """Give the first host one's name, again and again until it listens, and wait until it has seen everybody."""
    while (left := deadline - time.monotonic()) > 0:
        try:
            with socket.create_connection((first, PORT), timeout=min(left, 10)) as connection:
                connection.sendall(current.encode())
                connection.settimeout(left + 10)  # the first host names who is missing
                if connection.recv(len(GO)) == GO:
                    return
        except OSError:
            pass  # its name is not known yet, or it does not listen yet
        time.sleep(0.5)
    raise TimeoutError(f"{current} waited {seconds:.0f} s for {first}")
