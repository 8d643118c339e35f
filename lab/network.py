"""A network of one's own between this machine and the processes of one host, which can be cut."""

from __future__ import annotations

import secrets

from lab.lasting import Lasting
from lab.tools import tool

HERE, THERE = "10.213.0.1", "10.213.0.2"  # the only two addresses of the network


class Network(Lasting):
    """A network namespace, and a cable from it to here. One at a time: its addresses are always the same."""

    def __init__(self) -> None:
        name = secrets.token_hex(3)
        self.namespace = f"sf-{name}"
        self.within = ("nsenter", f"--net=/run/netns/{self.namespace}")  # the words before a command that lives there
        self._here, self._there = f"sfh{name}", f"sft{name}"  # the two ends of the cable

    def start(self) -> None:
        """Lays the cable."""
        tool("ip", "netns", "add", self.namespace)
        tool("ip", "link", "add", self._here, "type", "veth", "peer", "name", self._there, "netns", self.namespace)
        tool("ip", "address", "add", f"{HERE}/30", "dev", self._here)
        tool("ip", "link", "set", self._here, "up")
        self._inside("address", "add", f"{THERE}/30", "dev", self._there)
        self._inside("link", "set", "lo", "up")
        self.mend()

    def stop(self) -> None:
        """The cable goes with its namespace."""
        if self.namespace in tool("ip", "netns", "list").split():
            tool("ip", "netns", "delete", self.namespace)

    def cut(self) -> None:
        """Nothing gets through any more, and nobody is told."""
        self._inside("link", "set", self._there, "down")

    def mend(self) -> None:
        """As it was before."""
        self._inside("link", "set", self._there, "up")

    def _inside(self, *words: str) -> None:
        tool("ip", "-n", self.namespace, *words)
