"""Start, states, routes and end of providers: a failure names the plugin and stays with it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from ipaddress import IPv4Address, IPv4Network, IPv6Address
from types import SimpleNamespace
from typing import Any

import attrs
import pytest
from tests.support.waiting import until_async

from routerd.errors import TransientError
from routerd.model.names import LinkName, PublicKey
from routerd.model.route import LearnedRoute, RejectedRoute, RouteSet
from routerd.model.session import SessionState
from routerd.model.tunnel import PeerKey, PeerState, TunnelState
from routerd.plugins.join_methods import JoinMethods
from routerd.plugins.providers import Providers
from routerd.process.supervisor import Supervisor
from routerd.reconcile.desired import Desired
from routerd.reconcile.knowledge import Knowledge
from routerd.reconcile.loop import TableReport
from routerd.report import live
from routerd.report.live import ask_live
from routerd.report.reasons import reasons
from routerd.runtime import starter
from routerd.runtime.learning import learned
from routerd.runtime.starter import Starter
from routerd.testing.clock import FakeClock
from routerd.testing.context import RecordingLogger

TUNNEL = TunnelState(link=LinkName("t1"), backend="kernel", up=True)
SESSION = SessionState(neighbour=IPv4Address("10.0.0.1"), state="established")
ROUTE = LearnedRoute(
    prefix=IPv4Network("10.1.0.0/16"), next_hop=IPv4Address("10.0.0.1"), neighbour=IPv4Address("10.0.0.1")
)


async def hang() -> None:
    await asyncio.Event().wait()


async def leave() -> None:
    sys.exit(7)


async def leak() -> None:
    raise asyncio.CancelledError


async def nothing() -> None:
    """Do what is asked."""


class Odd:
    """A provider whose methods do what a test says."""

    def __init__(self, **does: Any) -> None:
        self.does = does
        self.closed = 0

    async def start(self) -> None:
        await self.does.get("start", nothing)()

    async def aclose(self) -> None:
        self.closed += 1
        await self.does.get("aclose", nothing)()

    async def states(self) -> Any:
        answer = self.does["states"]
        return await answer() if callable(answer) else answer

    def learned(self) -> AsyncIterator[RouteSet]:
        stream: Callable[[], AsyncIterator[RouteSet]] = self.does["learned"]
        return stream()


# --- start and end -----------------------------------------------------------------------------------


class Started:
    """A starter of providers, each of a plugin with the provider's name."""

    def __init__(self, **providers: Odd) -> None:
        self.clock, self.log = FakeClock(), RecordingLogger()
        self.knowledge = Knowledge()
        log: Any = self.log
        self.supervisor = Supervisor(clock=self.clock, log=log)
        self.starter = Starter(
            knowledge=self.knowledge,
            supervisor=self.supervisor,
            clock=self.clock,
            log=log,
            wake=lambda: None,
            plugins={name: f"plugin_{name}" for name in providers},
        )
        for name, provider in providers.items():
            self.starter.start(name, provider, nothing)


@pytest.mark.parametrize("broken", [leave, leak, hang])
async def test_a_start_that_fails_in_any_way_is_named_and_retried(
    broken: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(starter, "START_SECONDS", 0.02)
    odd = Odd(start=broken)
    scene = Started(odd=odd, good=Odd())
    await until_async(lambda: scene.knowledge.waiting.get("odd", "starting") != "starting")
    assert scene.knowledge.waiting["odd"].startswith("start (plugin plugin_odd): ")
    assert "good" not in scene.knowledge.waiting
    odd.does["start"] = nothing
    await scene.clock.advance(2)
    assert scene.knowledge.waiting == {}
    await scene.supervisor.aclose()


@pytest.mark.parametrize("broken", [leave, leak, hang])
async def test_a_close_that_fails_keeps_no_other_from_closing(
    broken: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(starter, "CLOSE_SECONDS", 0.02)
    first, odd, last = Odd(), Odd(aclose=broken), Odd()
    scene = Started(first=first, odd=odd, last=last)
    await scene.clock.settle()
    await scene.starter.aclose()
    assert (first.closed, odd.closed, last.closed) == (1, 1, 1)
    (entry,) = [each for each in scene.log.entries if each.event == "provider.close.failed"]
    assert dict(entry.facts)["plugin"] == "plugin_odd"
    assert dict(entry.facts)["error"]


async def test_a_task_of_a_plugin_that_leaves_or_leaks_is_a_failure_of_its_task() -> None:
    scene = Started()
    for broken in (leave, leak):
        scene.supervisor.spawn(f"odd/{broken.__name__}", broken())
    await scene.clock.settle()
    assert scene.supervisor.failures == {"odd/leave": "SystemExit: 7", "odd/leak": "CancelledError"}


# --- states ------------------------------------------------------------------------------------------


@attrs.define
class Subject:
    """What the reports read of a router."""

    made: Providers
    knowledge: Knowledge = attrs.field(factory=Knowledge)
    log: Any = attrs.field(factory=RecordingLogger)
    loop: Any = None

    def gates(self) -> dict[str, Any]:
        return {}


def subject(transports: dict[str, Any], routings: dict[str, Any] | None = None) -> Any:
    made = Providers(
        transports=transports,
        modes={name: SimpleNamespace(encrypts=False) for name in transports},  # type: ignore[misc]
        routings=routings or {},
        enrollments=JoinMethods({}, log=RecordingLogger()),
        fabrics={},
        plugins={f"transport/{name}": f"plugin_{name}" for name in transports},
    )
    return Subject(made)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (hang, "no answer within 0.05 s"),
        (leave, "unexpected SystemExit(7)"),
        (leak, "unexpected CancelledError()"),
        (None, "it returned a NoneType, not a sequence of TunnelState"),
        ([SESSION], "it returned a SessionState among its TunnelStates"),
        ("abc", "it returned a str, not a sequence of TunnelState"),
    ],
)
async def test_states_of_a_plugin_that_misbehaves_hide_nothing_of_the_others(
    answer: Any, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "STATES_SECONDS", 0.05)
    found = await ask_live(
        subject({"odd": Odd(states=answer), "good": Odd(states=[TUNNEL])}, {"bgp": Odd(states=(SESSION,))})
    )
    assert (found.tunnels, found.sessions) == ((TUNNEL,), (SESSION,))
    (error,) = found.errors
    assert error.startswith("transport/odd (plugin plugin_odd): states: ")
    assert words in error


async def test_each_encrypted_peer_has_the_mode_of_its_transport() -> None:
    class Encrypting:
        def __init__(self, link: str) -> None:
            self.state = PeerState(
                key=PeerKey(link=LinkName(link), public_key=PublicKey(link)),
                endpoint=None,
                last_handshake=0,
                rx_bytes=0,
                tx_bytes=0,
            )

        async def states(self) -> tuple[TunnelState, ...]:
            return ()

        async def peer_states(self) -> tuple[PeerState, ...]:
            return (self.state,)

    of = subject({"armour": Encrypting("arm0"), "wireguard": Encrypting("wg0")})
    for mode in of.made.modes.values():
        mode.encrypts = True
    found = await ask_live(of)
    assert {state.key.link for state in found.peers} == {"arm0", "wg0"}
    assert found.encryption == {"arm0": "armour", "wg0": "wireguard"}


async def test_a_table_that_no_desired_state_knows_counts_when_it_cannot_be_read() -> None:
    class Reports:
        def reports(self) -> dict[str, TableReport]:
            return {
                "tunnels/odd": TableReport(
                    name="tunnels/odd", plugin="p", readable=False, error="no answer since 5 s (observe)"
                )
            }

    of = subject({})
    of.loop = Reports()
    assert reasons(of, Desired(), await ask_live(of)) == [
        "tunnels/odd (plugin p): no answer since 5 s (observe)"
    ]


# --- learned -----------------------------------------------------------------------------------------


SIX = IPv6Address("2001:db8::1")
LOST = RejectedRoute(prefix=ROUTE.prefix, neighbour=ROUTE.neighbour, reason="x")


async def yields(*values: Any) -> AsyncIterator[Any]:
    for value in values:
        yield value


async def exits(good: RouteSet) -> AsyncIterator[Any]:
    yield good
    sys.exit(5)


@pytest.mark.parametrize(
    ("stream", "words"),
    [
        (lambda good: yields(good, {"not": "routes"}), "it yielded a dict, not a RouteSet"),
        (lambda good: yields(good, RouteSet(routes=("x",))), "it returned a str among its LearnedRoutes"),  # type: ignore[arg-type]
        (
            lambda good: yields(good, RouteSet(routes=(attrs.evolve(ROUTE, prefix="10.0.0.0/8"),))),
            "it yielded a route with prefix '10.0.0.0/8', not a network",
        ),
        (
            lambda good: yields(good, RouteSet(rejected=(attrs.evolve(LOST, neighbour="10.0.0.1"),))),
            "it yielded a route with neighbour '10.0.0.1', not an address",
        ),
        (
            lambda good: yields(good, RouteSet(routes=(attrs.evolve(ROUTE, originator=SIX),))),
            "it yielded a route with originator IPv6Address('2001:db8::1'), not a router ID",
        ),
        (lambda good: yields(good, RouteSet(heard=None)), "it yielded heard as a NoneType"),  # type: ignore[arg-type]
        (exits, r"SystemExit(5)"),
        (yields, "the stream of routes has ended"),
    ],
)
async def test_a_stream_of_routes_is_checked_where_it_enters(stream: Any, words: str) -> None:
    good = RouteSet(routes=(ROUTE,), complete=True)
    routing: Any = Odd(learned=lambda: stream(good))
    found = learned(routing, "odd", log=RecordingLogger(), plugin="p")
    assert await anext(found) == good
    with pytest.raises(TransientError) as caught:
        await anext(found)
    assert str(caught.value).startswith("learned (plugin p): ")
    assert words in str(caught.value)
