"""A container's network: none, or AWS alone, through relays over Unix sockets, which no network namespace cuts off.

    python network.py FOLDER FROM=TO ... -- COMMAND

runs in a namespace of its own: it brings the loopback interface up, leaves a process behind that hands connections to
FROM on to TO (tcp:PORT of this machine, or unix:NAME in the folder), and becomes the command. Names and no paths, since
the address of a Unix socket has 107 bytes at most: both ends work in the folder.
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
WAITING = 128  # connections that nobody has accepted yet


class Relay:
    """Hands every connection to one address on to another, from its start until it is closed."""

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
            with contextlib.suppress(OSError):  # who connected is gone already
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
    """The family and the address behind tcp:PORT or unix:NAME."""
    kind, _, rest = address.partition(":")
    return (socket.AF_INET, ("127.0.0.1", int(rest))) if kind == "tcp" else (socket.AF_UNIX, rest)


def pump(source: socket.socket, sink: socket.socket) -> None:
    """Pass on what comes, and its end."""
    with contextlib.suppress(OSError):
        while piece := source.recv(PIECE):
            sink.sendall(piece)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


def bring_loopback_up() -> None:
    """As `ip link set lo up` does, which is not on every machine: netdevice(7)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP))


def main(arguments: list[str]) -> None:
    """Relay from now on, and become the command: it keeps this process's number, to which signals go."""
    end, here = arguments.index("--"), os.getcwd()
    bring_loopback_up()
    os.chdir(arguments[0])
    relays = [Relay(*relay.split("=")) for relay in arguments[1:end]]
    if relays and os.fork() == 0:
        devnull = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):  # whoever reads the command's output waits for its end
            os.dup2(devnull, stream)
        for relay in relays:
            relay.start()
        threading.Event().wait()
    os.chdir(here)
    os.execvp(arguments[end + 1], arguments[end + 1 :])  # noqa: S606 (the container's own entrypoint, no shell)


if __name__ == "__main__":
    main(sys.argv[1:])
