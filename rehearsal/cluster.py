"""Connect the instances of one job: a bridge, and a network namespace per instance with an interface on that bridge.

    python cluster.py bridge
    python cluster.py plug FD NAME INTERFACE ADDRESS COMMAND ...

`bridge` runs in a network namespace of its own: it creates the bridge there, prints "ready", and keeps the namespace
alive until it is killed. `plug` runs in the namespace of an instance: it creates an interface with the address,
attaches the other end to the bridge in the namespace that the descriptor FD refers to, and executes the command.
"""

import ctypes
import os
import signal
import sys

from pyroute2 import IPRoute

BRIDGE, PREFIX_LENGTH = "hosts", 24
CLONE_NEWNET = 0x40000000  # linux/sched.h


def lay() -> None:
    """Create the bridge in this network namespace."""
    with IPRoute() as here:
        here.link("add", ifname=BRIDGE, kind="bridge")
        here.link("set", index=here.link_lookup(ifname=BRIDGE)[0], state="up")


def plug(bridge: int, name: str, interface: str, address: str) -> None:
    """Create an interface in this namespace whose veth(4) peer, `name`, is a port of the bridge.

    `bridge` is a descriptor of the bridge's network namespace, and is closed.
    """
    own = os.open("/proc/self/ns/net", os.O_RDONLY)
    # The pair is created from the bridge's namespace; `net_ns_fd` puts the instance's end into this one.
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
    """Move this process into a network namespace with setns(2). os.setns exists only from Python 3.12 on."""
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
