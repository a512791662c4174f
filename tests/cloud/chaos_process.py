"""A router's process as a storm has it: its state file can fill up, and it can be killed anywhere."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import Any, Literal

import attrs

from routerd.plugins.check import Prepared, prepare_text
from routerd.process.supervisor import Supervisor
from routerd.runtime.router import Router
from routerd.store import Store

Mode = Literal["plan", "auto"]
Side = Literal["before", "after"]

HOLD_DOWN = 60.0

_CONFIG = """\
apiVersion: routerd.net/v1alpha1
kind: Router
metadata: {{name: leaf}}
plugins: [bgp_ryu, cloud_{provider}]
spec:
  resources:
    - apiVersion: net.routerd.net/v1alpha1
      kind: BGPRouter
      metadata: {{name: fabric}}
      spec: {{asn: 64577, routerID: 10.99.0.9}}
    - apiVersion: net.routerd.net/v1alpha1
      kind: BGPPeer
      metadata: {{name: reflector}}
      spec:
        routerRef: BGPRouter/fabric
        peerASN: 64577
        peers: [10.99.0.1]
        importPolicy:
          allowedPrefixes: [10.0.0.0/8]
          allowedPrefixLengthMin: 8
    - apiVersion: hybrid.routerd.net/v1alpha1
      kind: CloudProviderProfile
      metadata: {{name: cloud}}
      spec:
        provider: {provider}
        mode: {mode}
        aggregate: {aggregate}
        removalHoldDown: {hold}s
        options: {options}
"""


def configured(
    provider: str,
    options: str,
    *,
    mode: Mode = "auto",
    aggregate: bool = False,
    hold_down: float = HOLD_DOWN,
) -> Prepared:
    """Return a router whose only resources are a speaker and a cloud's profile."""
    text = _CONFIG.format(
        provider=provider,
        mode=mode,
        aggregate=str(aggregate).lower(),
        options=options,
        hold=int(hold_down),
    )
    return prepare_text(text, file="storm.yaml")


class Death(BaseException):
    """The process was killed at this place."""


@attrs.define
class Disk:
    """The disk below the state file: whether it is full, and at which commit from now the process dies."""

    full: bool = False
    dies_in: int = 0
    side: Side = "before"


class Mortal:
    """A connection of SQLite whose process may be killed before or after a commit."""

    def __init__(
        self, connection: Any, disk: Disk, is_dead: Callable[[], bool], die: Callable[[], None]
    ) -> None:
        self.raw = connection
        self._disk = disk
        self._is_dead = is_dead
        self._die = die

    def execute(self, sql: str, parameters: Sequence[str | int | None] = (), /) -> Any:
        if self._is_dead():
            raise Death
        if self._disk.full and sql.startswith(("INSERT", "UPDATE", "DELETE")):
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode, error.sqlite_errorname = sqlite3.SQLITE_FULL, "SQLITE_FULL"
            raise error
        if sql != "COMMIT" or not self._disk.dies_in:
            return self.raw.execute(sql, parameters)
        self._disk.dies_in -= 1
        if self._disk.dies_in:
            return self.raw.execute(sql, parameters)
        if self._disk.side == "after":
            self.raw.execute(sql, parameters)
        self._die()
        raise Death

    def close(self) -> None:
        self.raw.close()


class Keeper(Supervisor):
    """The supervisor, without the task that reads keys of transports every few seconds: there are none."""

    def keep(self, name: str, make: Callable[[], Any]) -> None:
        if name != "keys":
            super().keep(name, make)


@attrs.define
class Process:
    """A running router and what belongs to it alone."""

    router: Router
    store: Store
    supervisor: Keeper
    connections: list[Mortal]
    mode: Mode
    aggregate: bool
    dead: bool = False


@attrs.define
class Elsewhere:
    """A router that runs in a process of its own."""

    mode: Mode = "auto"
    aggregate: bool = False
    dead: bool = False
