"""A container's network: none, or only AWS, through relays over Unix sockets, which work across network namespaces.

    python network.py FOLDER FROM=TO ... -- COMMAND

runs in a network namespace of its own: it brings the loopback interface up, leaves a process behind that forwards
connections from FROM to TO (tcp:PORT on the loopback interface, or unix:NAME in FOLDER), and executes the command.
Sockets are named, not given as paths, because a Unix socket's address has at most 107 bytes: both ends use FOLDER as
their working directory.
"""

import contextlib
import fcntl
import os
import socket
import struct
import sys
import threading

PIECE = 1 << 16
SIOCSIFFLAGS, IFF_UP = 0x8914, 0x1  # linux/sockios.h, linux/if.h
WAITING = 128  # listen() backlog: connections that are not accepted yet


class Relay:
    """Forwards connections from one address to another, from start() to close()."""

    def __init__(self, source: str, target: str):
        self.target = target
        kind, address = parse(source)
        self.listening = socket.socket(kind, socket.SOCK_STREAM)
        if kind == socket.AF_INET:
            self.listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listening.bind(address)
        self.listening.listen(WAITING)

    def start(self) -> None:
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self) -> None:
        while self.listening.fileno() != -1:  # not closed
            with contextlib.suppress(OSError):  # the client has already disconnected
                near, _ = self.listening.accept()
                threading.Thread(target=self.join, args=(near,), daemon=True).start()

    def join(self, near: socket.socket) -> None:
        kind, address = parse(self.target)
        with near, socket.socket(kind, socket.SOCK_STREAM) as far, contextlib.suppress(OSError):
            far.connect(address)
            back = threading.Thread(target=pump, args=(far, near), daemon=True)
            back.start()
            pump(near, far)
            back.join()

    def close(self) -> None:
        closed = self.listening.dup()
        self.listening.close()
        with closed, contextlib.suppress(OSError):
            closed.shutdown(socket.SHUT_RDWR)  # wakes accept()


def parse(address: str) -> tuple[socket.AddressFamily, str | tuple[str, int]]:
    """Return the socket family and the address of tcp:PORT or unix:NAME."""
    kind, _, rest = address.partition(":")
    return (socket.AF_INET, ("127.0.0.1", int(rest))) if kind == "tcp" else (socket.AF_UNIX, rest)


def pump(source: socket.socket, sink: socket.socket) -> None:
    """Copy data from source to sink until it ends, then end the sink's input too."""
    with contextlib.suppress(OSError):
        while piece := source.recv(PIECE):
            sink.sendall(piece)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


def bring_loopback_up() -> None:
    """Bring the loopback interface up as `ip link set lo up` does, without needing `ip`: netdevice(7)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        # struct ifreq: the interface's name (16 bytes), its flags, padding.
        fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP))


def main(arguments: list[str]) -> None:
    """Start the relays in a child process and execute the command in this one, whose PID signals are sent to."""
    end, here = arguments.index("--"), os.getcwd()
    bring_loopback_up()
    os.chdir(arguments[0])
    relays = [Relay(*relay.split("=")) for relay in arguments[1:end]]
    if relays and os.fork() == 0:
        devnull = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):  # whoever reads the command's output to its end must not wait for this process
            os.dup2(devnull, stream)
        for relay in relays:
            relay.start()
        threading.Event().wait()
    os.chdir(here)
    os.execvp(arguments[end + 1], arguments[end + 1 :])  # noqa: S606 (the container's own entrypoint, no shell)


if __name__ == "__main__":
    main(sys.argv[1:])
