"""The network between the instances of one job: a bridge, and each instance's own network namespace plugged into it.

    python cluster.py bridge
    python cluster.py plug FD NAME INTERFACE ADDRESS COMMAND ...

The first runs in a network namespace, lays the bridge there, says "ready" and keeps it until it is killed. The second
runs in the namespace of an instance: it gives it an interface with the address, plugs its other end into the bridge,
in the namespace that FD is open on, and becomes the command.
"""

import ctypes
import os
import signal
import sys

from pyroute2 import IPRoute

BRIDGE, PREFIX_LENGTH = "hosts", 24
CLONE_NEWNET = 0x40000000  # linux/sched.h


def lay() -> None:
    """Lay the bridge in this namespace."""
    with IPRoute() as here:
        here.link("add", ifname=BRIDGE, kind="bridge")
        here.link("set", index=here.link_lookup(ifname=BRIDGE)[0], state="up")


def plug(bridge: int, name: str, interface: str, address: str) -> None:
    """Give this namespace an interface whose other end, `name`, is a port of the bridge: veth(4)."""
    own = os.open("/proc/self/ns/net", os.O_RDONLY)
    enter(bridge)
    with IPRoute() as there:
        there.link("add", ifname=name, kind="veth", peer={"ifname": interface, "net_ns_fd": own})
        master = there.link_lookup(ifname=BRIDGE)[0]
        there.link("set", index=there.link_lookup(ifname=name)[0], master=master, state="up")
    enter(own)
    with IPRoute() as here:
        index = here.link_lookup(ifname=interface)[0]
        here.addr("add", index=index, address=address, prefixlen=PREFIX_LENGTH)
        here.link("set", index=index, state="up")
    os.close(own)
    os.close(bridge)


def enter(namespace: int) -> None:
    """Move this process to a network namespace: setns(2), which Python has from 3.12 on."""
    if ctypes.CDLL(None, use_errno=True).setns(namespace, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


def main(arguments: list[str]) -> None:
    if arguments[0] == "bridge":
        lay()
        print("ready", flush=True)
        signal.pause()
    descriptor, name, interface, address, *command = arguments[1:]
    plug(int(descriptor), name, interface, address)
    os.execvp(command[0], command)  # noqa: S606 (what the emulator starts in a container, no shell)


if __name__ == "__main__":
    main(sys.argv[1:])
