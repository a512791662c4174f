"""A guest of the emulated Proxmox VE host, and the commands that its agent runs in its system.

In the lab the system is a machine with a kernel of its own.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import attrs

Json = dict[str, Any]  # Any: JSON of the API


@attrs.frozen(kw_only=True)
class Ended:
    """How a command in a guest ended; `truncated` if the agent kept only a part of its output."""

    status: int
    out: str = ""
    err: str = ""
    truncated: bool = False


class GuestSystem(Protocol):
    """The operating system of a guest, as far as its agent needs it."""

    async def run(self, command: Sequence[str], text: str) -> Ended:
        """Run a command with `text` as its input; raises `FileNotFoundError` without such a program."""


@attrs.define(kw_only=True)
class Guest:
    """A guest as its host knows it.

    `configured` is the option `agent` of the guest, `agent` whether the agent runs in it, `blocked`
    which of its commands it refuses. `config` has the NICs (`net0`), `firewall` the options and
    `ipsets` the names of the IP sets of the guest's firewall.
    """

    name: str
    system: GuestSystem
    running: bool = True
    configured: bool = True
    agent: bool = True
    blocked: frozenset[str] = frozenset()
    config: Json = attrs.field(factory=dict)
    firewall: Json = attrs.field(factory=dict)
    ipsets: list[str] = attrs.field(factory=list)
