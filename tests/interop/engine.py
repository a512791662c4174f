"""What the tests ask of any BGP engine: a neutral description in, routes and states in neutral terms out.

An adapter per engine (`bird.py`, `frr.py`, `gobgp.py`) translates; it judges nothing. The engine runs in a
network namespace of its own and is asked through its own tools, so that nothing rests on our opinion.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from ipaddress import IPv4Address
from pathlib import Path as FilePath
from typing import Any, ClassVar

import attrs
from tests.interop.sandbox import PATH, run

RETRY = 1
"""Seconds between an engine's attempts to connect, where it can be told."""

START_DEADLINE = 30.0
"""Seconds for a daemon to start."""


@attrs.frozen(kw_only=True)
class Neighbour:
    """One session, as the engine has it. `client` is a client of route reflection, to which the engine
    gives its own address as next hop."""

    address: IPv4Address
    local: IPv4Address
    asn: int
    hold: int = 9
    passive: bool = False
    client: bool = False
    password: str | None = None


@attrs.frozen(kw_only=True)
class Origin:
    """A prefix that the engine originates."""

    prefix: str
    communities: tuple[str, ...] = ()
    local_preference: int | None = None


@attrs.frozen(kw_only=True)
class Description:
    """A speaker. A reflector (one with clients) exports what it learned, a leaf what it originates."""

    asn: int
    router_id: IPv4Address
    neighbours: tuple[Neighbour, ...]
    origins: tuple[Origin, ...] = ()

    @property
    def reflects(self) -> bool:
        """Say whether this is a route reflector; its router ID is the cluster ID then."""
        return any(each.client for each in self.neighbours)


@attrs.frozen(kw_only=True)
class Path:
    """A path from a neighbour, as the engine shows it."""

    next_hop: str
    local_preference: int | None = None
    as_path: tuple[int, ...] = ()
    communities: tuple[str, ...] = ()
    originator: str | None = None
    clusters: tuple[str, ...] = ()


class Engine(ABC):
    """Another implementation of BGP in a network namespace of its own."""

    program: ClassVar[str]
    package: ClassVar[str]
    helps: ClassVar[bool] = True
    """Keeps the routes of a neighbour that restarts gracefully (RFC 4724), without being told to."""

    tells_refusals: ClassVar[bool] = True
    """Whether it shows a NOTIFICATION that answers its OPEN."""
    resets: ClassVar[bool] = True
    """Whether it comes back soon after a reset."""

    def __init__(self, name: str, directory: FilePath) -> None:
        self.name = name
        self.directory = directory / name
        self.directory.mkdir()
        self.described: Description | None = None
        self._processes: list[subprocess.Popen[bytes]] = []
        run("ip", "netns", "add", name)
        run("ip", "-n", name, "link", "set", "lo", "up")

    @classmethod
    def missing(cls) -> bool:
        """Say whether the engine is not installed."""
        return shutil.which(cls.program, path=PATH) is None

    def link(self, number: int, other: Engine | None = None) -> None:
        """Join it to our namespace, or to another engine, by 10.255.<number>.0/31; it has the odd address."""
        near, far = f"v{number}", f"w{number}"
        run("ip", "link", "add", near, "type", "veth", "peer", "name", far, "netns", self.name)
        if other is not None:
            run("ip", "link", "set", near, "netns", other.name)
        for where, device, address in ((other.name if other else "", near, 0), (self.name, far, 1)):
            at = ["-n", where] if where else []
            run("ip", *at, "addr", "add", f"10.255.{number}.{address}/31", "dev", device)
            run("ip", *at, "link", "set", device, "up")

    # --- its life ------------------------------------------------------------------------------------

    def start(self, description: Description) -> None:
        """Start it with a configuration made of the description."""
        self.described = description
        self.launch(description)

    def restart(self) -> None:
        """Start it again as it was described first."""
        assert self.described is not None
        self.launch(self.described)

    def kill(self) -> None:
        """End it without any chance to say goodbye."""
        for process in self._processes:
            process.kill()
            process.wait(10)
        self._processes.clear()

    def stop(self) -> None:
        """End it."""
        for process in reversed(self._processes):
            process.terminate()
        for process in self._processes:
            with suppress(subprocess.TimeoutExpired):
                process.wait(10)
        self.kill()

    def spawn(self, *command: str) -> None:
        """Run a daemon in its namespace; it does not outlive the test, however that ends."""
        within = ("ip", "netns", "exec", self.name, "setpriv", "--pdeathsig", "KILL")
        with (self.directory / "output").open("ab") as output:
            self._processes.append(
                subprocess.Popen(
                    [*within, *command],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    cwd=self.directory,
                )
            )

    def ask(self, *command: str) -> str:
        """Return what a tool says; nothing while the daemon is not there yet."""
        done = subprocess.run(
            ["ip", "netns", "exec", self.name, *command],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        return done.stdout if done.returncode == 0 else ""

    def ask_json(self, *command: str) -> Any:
        """Return what a tool says in JSON; an empty object while it says none."""
        try:
            return json.loads(self.ask(*command))
        except ValueError:
            return {}

    def wait(self, condition: Callable[[], object], what: str) -> None:
        """Wait for a daemon while it starts."""
        end = time.monotonic() + START_DEADLINE
        while not condition():
            assert time.monotonic() < end, f"{self.name}: no {what}: {self.said()}"
            time.sleep(0.02)

    def said(self) -> str:
        """Return what its daemons have written to their outputs."""
        return (self.directory / "output").read_text()

    def on_link(self, address: str) -> bool:
        """Say whether an address is at the other end of one of its links."""
        way = self.ask("ip", "route", "get", address)
        return way != "" and " via " not in way

    # --- what an adapter does --------------------------------------------------------------------------

    @abstractmethod
    def launch(self, description: Description) -> None:
        """Write the configuration and start the daemons."""

    @abstractmethod
    def established(self, neighbour: str) -> bool:
        """Say whether the session is up."""

    @abstractmethod
    def hold_time(self, neighbour: str) -> int:
        """Return the negotiated hold time in seconds; 0 while there is none."""

    @abstractmethod
    def notification(self, neighbour: str) -> tuple[int, int] | None:
        """Return code and subcode of the last NOTIFICATION, sent or received."""

    @abstractmethod
    def routes(self) -> set[str]:
        """Return the prefixes learned from neighbours that are best and whose next hop resolves."""

    @abstractmethod
    def path(self, prefix: str, neighbour: str) -> Path | None:
        """Return the path to a prefix that a neighbour has sent; none without one."""

    @abstractmethod
    def announce(self, origin: Origin) -> None:
        """Originate a prefix."""

    @abstractmethod
    def withdraw(self, prefix: str) -> None:
        """Originate a prefix no more."""

    @abstractmethod
    def disable(self, neighbour: str) -> None:
        """Shut the session down administratively."""

    @abstractmethod
    def enable(self, neighbour: str) -> None:
        """Take the shutdown back."""

    @abstractmethod
    def reset(self, neighbour: str) -> None:
        """End the session; it may come back at once."""
