"""Packets between two leaves over two route reflectors, while what is between them dies and returns.

Not collected: `test_two_reflectors.py` runs it inside a user namespace of its own. Four real daemons with
their speakers, real kernels, and packets in sixteen flows from one client to the other all the time.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator

import pytest
from tests.netns import two_reflectors_world
from tests.netns.two_reflectors_world import (
    CLIENT,
    FLOWS,
    HOLD,
    LEAVES,
    MARGIN,
    STALE,
    Fabric,
    Traffic,
    leaf_file,
    until,
    watched,
)

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def world() -> Iterator[Fabric]:
    with two_reflectors_world.fabric() as made:
        yield made


@pytest.fixture
def fabric(world: Fabric) -> Fabric:
    world.normal()
    return world


@pytest.fixture
def traffic(fabric: Fabric) -> Traffic:
    assert fabric.traffic is not None
    fabric.traffic.flow()
    return fabric.traffic


def test_flows_are_spread_over_both_reflectors(fabric: Fabric, traffic: Traffic) -> None:
    began = time.monotonic()
    before = {(leaf, way): fabric[leaf].sent(way) for leaf in LEAVES for way in ("rr1", "rr2")}
    until(lambda: time.monotonic() > began + 2, "two seconds of packets")
    assert traffic.lost(began) == []
    for (leaf, way), count in before.items():
        # Two seconds of a single flow are 40 packets; keepalives are one.
        assert fabric[leaf].sent(way) - count >= 40, (leaf, way)


def test_a_reflector_that_falls_silent_costs_its_hold_time_and_its_return_nothing(
    fabric: Fabric, traffic: Traffic
) -> None:
    died = time.monotonic()
    fabric.silence("rr1")
    fabric.until_ways("rr2", seconds=HOLD + MARGIN)
    moved = time.monotonic()
    traffic.flow()
    lost = traffic.lost(died)
    assert len(lost) > 0, "nothing went over rr1"
    assert lost[-1] < HOLD + MARGIN, lost[-1]
    # The other reflector's flows are not touched: in no direction more than all is lost, and not all is.
    assert len(lost) < FLOWS * 20 * lost[-1], (len(lost), lost[-1])
    assert traffic.lost(moved) == []
    fabric.hear("rr1")
    back = time.monotonic()
    fabric.until_ways("rr1", "rr2")
    traffic.flow()
    assert traffic.lost(back) == []


def test_a_reflector_whose_processes_are_killed_goes_on_forwarding(fabric: Fabric, traffic: Traffic) -> None:
    began = time.monotonic()
    with watched("leaf-a") as gone_a, watched("leaf-b") as gone_b:
        fabric["rr1"].end(signal.SIGKILL)
        fabric["rr1"].kill_speaker()
        fabric.until_ways("rr2")
        traffic.flow()
        fabric["rr1"].start()
        fabric.until_ways("rr1", "rr2")
        traffic.flow()
        assert traffic.lost(began) == []
        assert gone_a() == gone_b() == []


def test_a_reflector_whose_host_starts_anew_takes_no_packet_that_it_cannot_forward(
    fabric: Fabric, traffic: Traffic
) -> None:
    """Its kernel has no routes at first: nobody may be told of a way before it is there."""
    fabric["rr1"].end(signal.SIGKILL)
    fabric["rr1"].kill_speaker()
    fabric.until_ways("rr2")
    two_reflectors_world.sh("ip -n rr1 route flush proto 147; rm -rf /run/rr1/run /run/rr1/state")
    traffic.flow()
    began = time.monotonic()
    fabric["rr1"].start()
    fabric.until_ways("rr1", "rr2")
    traffic.flow()
    assert traffic.lost(began) == []


def _falls_back_and_returns(
    fabric: Fabric,
    traffic: Traffic,
    way: str,
    others: tuple[str, ...],
    *,
    cut: Callable[[], None],
    mend: Callable[[], None],
) -> None:
    """Cut a way that is used alone and give it back: packets are lost for the hold time, and no others."""
    died = time.monotonic()
    cut()
    fabric.until_ways(*others, seconds=HOLD + MARGIN)
    moved = time.monotonic()
    traffic.flow()
    lost = traffic.lost(died)
    assert len(lost) > 0, f"nothing went over {way}"
    assert lost[-1] < HOLD + MARGIN, lost[-1]
    assert traffic.lost(moved) == []
    mend()
    back = time.monotonic()
    fabric.until_ways(way)
    traffic.flow()
    assert traffic.lost(back) == []


def _take_up(fabric: Fabric, traffic: Traffic, way: str, **preferences: int) -> None:
    """Give a way the higher local preference; not a packet is lost."""
    began = time.monotonic()
    for leaf in LEAVES:
        fabric[leaf].reconfigure(leaf_file(leaf, **preferences))
    fabric.until_ways(way)
    traffic.flow()
    assert traffic.lost(began) == []


def test_the_reflector_of_the_higher_local_preference_is_used_alone(fabric: Fabric, traffic: Traffic) -> None:
    _take_up(fabric, traffic, "rr1", rr1=200)
    _falls_back_and_returns(
        fabric,
        traffic,
        "rr1",
        ("rr2",),
        cut=lambda: fabric.cut("rr1"),
        mend=lambda: fabric.mend("rr1"),
    )


def test_a_direct_session_is_preferred_and_reflected_paths_are_the_fall_back(
    fabric: Fabric, traffic: Traffic
) -> None:
    _take_up(fabric, traffic, "direct", direct=200)
    before = fabric["leaf-a"].sent("direct")
    _falls_back_and_returns(
        fabric,
        traffic,
        "direct",
        ("rr1", "rr2"),
        cut=lambda: fabric.silence("leaf-b", link="direct"),
        mend=lambda: fabric.hear("leaf-b"),
    )
    assert fabric["leaf-a"].sent("direct") > before


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_leaf_whose_daemon_starts_anew_loses_nothing(
    fabric: Fabric, traffic: Traffic, how: signal.Signals
) -> None:
    leaf = fabric["leaf-a"]
    speakers = leaf.speakers()
    began = time.monotonic()
    with watched("leaf-a") as gone:
        leaf.end(how)
        traffic.flow()
        leaf.start()
        until(lambda: leaf.established() == 2, "the daemon knows its sessions")
        traffic.flow()
        assert traffic.lost(began) == []
        assert gone() == []
    assert leaf.speakers() == speakers
    assert fabric.ways("leaf-a") == {"rr1", "rr2"}


def test_a_leaf_whose_speaker_is_killed_loses_nothing(fabric: Fabric, traffic: Traffic) -> None:
    leaf = fabric["leaf-a"]
    speakers = leaf.speakers()
    began = time.monotonic()
    with watched("leaf-a") as gone, watched("leaf-b") as gone_there:
        leaf.kill_speaker()
        until(lambda: leaf.speakers() not in ([], speakers), "another speaker")
        until(lambda: leaf.established() == 2, "both sessions")
        fabric.until_ways("rr1", "rr2")
        traffic.flow()
        assert gone() == []
        assert gone_there() == []
        assert traffic.lost(began) == []


def test_routes_of_dead_reflectors_stay_for_the_stale_time(fabric: Fabric, traffic: Traffic) -> None:
    leaf, there = fabric["leaf-a"], CLIENT["leaf-b"]
    with watched("leaf-a") as gone:
        for name in ("rr1", "rr2"):
            fabric[name].end(signal.SIGKILL)
            fabric[name].kill_speaker()
        died = time.monotonic()
        until(lambda: all(each["stale"] for each in leaf.learned()) and leaf.learned(), "all are stale")
        assert "stale: its session is lost" in leaf.ask("routes")
        assert {each["prefix"] for each in leaf.learned()} == {f"{there}/32"}
        assert fabric.ways("leaf-a") == {"rr1", "rr2"}
        until(lambda: time.monotonic() > died + STALE - 3, "most of the stale time is over")
        assert fabric.ways("leaf-a") == {"rr1", "rr2"}
        assert gone() == []
        assert traffic.lost(died, died + STALE - 4) == []
        until(lambda: fabric.ways("leaf-a") == set(), "no routes", STALE)
        assert time.monotonic() - died > STALE - 1
        assert leaf.learned() == []
