"""One of a site's leaves writes at a time: the best that is heard, after its hold-down, without flapping."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network
from itertools import pairwise, product

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routerd.clouds.takeover import CONTEST, Election, RoutePermission, Share, Standing, standing
from routerd.model.change import Change
from routerd.model.fabric import FabricRoute
from routerd.model.route import LearnedRoute, RejectedRoute, RouteSet

SHARED = IPv4Network("10.80.1.20/32")
OTHER = IPv4Network("10.80.2.20/32")
RR1, RR2 = IPv4Address("10.255.0.1"), IPv4Address("10.255.0.2")
HOLD = 10.0
ACTIVE, STANDBY, ISOLATED = "leads", "standby", "isolated"


def router(priority: int) -> IPv4Address:
    return IPv4Address("10.99.0.0") + priority


def mine(priority: int) -> Share:
    return Share(
        ref="SAMEnrollmentClaim/x",
        group="site",
        priority=priority,
        prefixes=frozenset({SHARED}),
        router_id=router(priority),
    )


def path(priority: int, via: IPv4Address = RR1, **more: object) -> LearnedRoute:
    made = LearnedRoute(
        prefix=SHARED,
        next_hop=via,
        neighbour=via,
        best=False,
        med=priority,
        originator=router(priority),
    )
    return attrs.evolve(made, **more)  # type: ignore[arg-type]  # by the caller


def heard(*routes: LearnedRoute, by: Sequence[IPv4Address] = (RR1,), **more: object) -> RouteSet:
    made = RouteSet(routes=routes, heard=frozenset(by), complete=True)
    return attrs.evolve(made, **more)  # type: ignore[arg-type]  # by the caller


# --- where a leaf stands ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("learned", "state", "why"),
    [
        (None, ISOLATED, "no route reflector"),
        (RouteSet(), ISOLATED, "no route reflector"),
        # What was learned of sessions that are lost says nothing any more.
        (heard(path(10), by=()), ISOLATED, "no route reflector"),
        (heard(), ACTIVE, ""),
        (heard(attrs.evolve(path(10), prefix=OTHER)), ACTIVE, ""),
        (heard(path(10)), STANDBY, "router 10.99.0.10 with priority 10 is active"),
        # Kept of a lost session beside one that is up: it may well be alive.
        (heard(path(10, RR2, stale=True)), STANDBY, "router 10.99.0.10"),
        (heard(path(10, RR2), by=(RR1, RR2)), STANDBY, "router 10.99.0.10"),
        # A reflector that has the worse one only, because ours does not get there.
        (heard(path(30, RR2), by=(RR1, RR2)), ACTIVE, ""),
        (heard(path(30)), STANDBY, "no route reflector has our better path"),
        (heard(path(30), path(30, RR2), by=(RR1, RR2)), STANDBY, "no route reflector has our better"),
        (heard(path(30, RR2), path(10), by=(RR1, RR2)), STANDBY, "router 10.99.0.10"),
        # A tie is what BGP makes of it: the lower router ID.
        (heard(path(20, originator=IPv4Address("10.99.0.1"))), STANDBY, "10.99.0.1"),
        (heard(path(20, RR2, originator=IPv4Address("10.99.1.1")), by=(RR1, RR2)), ACTIVE, ""),
        (heard(path(20, originator=None)), STANDBY, "neighbour 10.255.0.1"),
        # Our own path, should anybody send it back.
        (heard(path(20)), ACTIVE, ""),
        (
            heard(rejected=(RejectedRoute(prefix=SHARED, neighbour=RR1, reason="forbidden-community"),)),
            STANDBY,
            "refused (forbidden-community)",
        ),
        (heard(rejected=(RejectedRoute(prefix=OTHER, neighbour=RR1, reason="x"),)), ACTIVE, ""),
    ],
)
def test_where_a_leaf_stands(learned: RouteSet | None, state: str, why: str) -> None:
    found = standing(mine(20), learned)
    assert found.state == state
    assert why in found.why


# --- the hold-down -----------------------------------------------------------------------------------

SAYS = {ACTIVE: heard(), STANDBY: heard(path(10)), ISOLATED: heard(by=())}


@pytest.mark.parametrize("states", list(product(SAYS, repeat=6)))
def test_active_is_who_has_led_for_the_whole_hold_down(states: tuple[str, ...]) -> None:
    """Every sequence of six moments, four seconds apart."""
    election = Election()
    led_since: float | None = None
    for moment, state in enumerate(states):
        now = moment * 4.0
        election.note(mine(20), SAYS[state], now)
        led_since = (now if led_since is None else led_since) if state == ACTIVE else None
        for later in (now, now + 3.9):
            active = led_since is not None and later - led_since >= HOLD
            assert election.active(HOLD, later) is active
        assert election.ends(HOLD) == (None if led_since is None else led_since + HOLD)


def test_without_a_group_a_leaf_is_active_at_once_whatever_is_heard() -> None:
    for learned in (None, RouteSet(), heard(path(1))):
        election = Election()
        election.note(None, learned, 0.0)
        assert election.active(HOLD, 0.0)
        assert election.condition(HOLD, 0.0) is None


@pytest.mark.parametrize("again", ["restart", "another priority", "another address"])
def test_what_is_concluded_anew_begins_anew(again: str) -> None:
    election = Election()
    election.note(mine(20), heard(), 0.0)
    assert election.active(HOLD, HOLD)
    share = mine(20)
    if again == "restart":
        election.restart()
    elif again == "another priority":
        share = mine(5)
    else:
        share = attrs.evolve(share, prefixes=frozenset({OTHER}))
    election.note(share, heard(), 100.0)
    assert not election.active(HOLD, 100.0 + HOLD - 0.1)
    assert election.active(HOLD, 100.0 + HOLD)


@pytest.mark.parametrize(
    ("learned", "now", "reason", "words"),
    [
        (heard(), 0.0, "HoldDown", "will be active after leading for 10 s"),
        (heard(), 10.0, "Active", "active in placement group site with priority 20"),
        (heard(path(10)), 10.0, "Standby", "standby in placement group site with priority 20: router 10.99"),
        (heard(by=()), 10.0, "Isolated", "the cloud's routes stay as they are"),
    ],
)
def test_it_is_said_who_is_active(learned: RouteSet, now: float, reason: str, words: str) -> None:
    election = Election()
    election.note(mine(20), learned, 0.0)
    note = election.condition(HOLD, now)
    assert note is not None
    assert (note.type, note.status, note.reason) == ("Note", "True", reason)
    assert words in note.message


# --- what may be done to routes ------------------------------------------------------------------------

OURS, THEIRS = FabricRoute(next_hop="us"), FabricRoute(next_hop="them")
CREATE = Change(key="k", before=None, after=OURS)
TAKE = Change(key="k", before=THEIRS, after=OURS)
DROP = Change(key="k", before=OURS, after=None)
DROP_THEIRS = Change(key="k", before=THEIRS, after=None)
CHANGES = (CREATE, TAKE, DROP, DROP_THEIRS)


@pytest.mark.parametrize(
    ("learned", "now", "stays", "may"),
    [
        (heard(), HOLD, True, (CREATE, TAKE, DROP)),
        (heard(), HOLD - 0.1, True, (DROP,)),
        (heard(path(10)), HOLD, True, (DROP,)),
        (heard(by=()), HOLD, True, ()),
        # On the way out what is ours is removed, whatever is heard.
        (heard(by=()), HOLD, False, (DROP,)),
    ],
)
def test_who_is_not_active_takes_nothing(
    learned: RouteSet, now: float, stays: bool, may: tuple[object, ...]
) -> None:
    election = Election()
    routes = RoutePermission(election, "us", HOLD, stays=stays)
    election.note(mine(20), learned, 0.0)
    assert tuple(each for each in CHANGES if routes.permits(each, now)) == may


def test_without_a_group_the_journal_decides_except_on_a_route_of_another() -> None:
    election = Election()
    election.note(None, None, 0.0)
    routes = RoutePermission(election, "us", HOLD)
    assert [each for each in CHANGES if routes.permits(each, 0.0)] == [CREATE, TAKE, DROP]


def test_a_route_that_another_takes_unheard_is_left_to_it_for_a_time() -> None:
    election = Election()
    routes = RoutePermission(election, "us", HOLD)
    election.note(mine(20), heard(), 0.0)
    routes.observed({"k": THEIRS}, HOLD)
    assert routes.permits(TAKE, HOLD), "the first takeover"
    routes.won("k")
    routes.observed({"k": THEIRS}, 100.0)
    routes.observed({"k": THEIRS}, 200.0)
    assert not routes.permits(TAKE, 100.0 + CONTEST - 1)
    assert routes.permits(TAKE, 100.0 + CONTEST)
    other = attrs.evolve(TAKE, key="other")
    assert routes.permits(other, 100.0), "another route was never ours"


def test_who_stood_by_in_between_takes_over_again_at_once() -> None:
    """The leaf has heard the other one in between, so it is not a contest."""
    election = Election()
    routes = RoutePermission(election, "us", HOLD)
    election.note(mine(20), heard(), 0.0)
    routes.observed({"k": OURS}, HOLD)
    election.note(mine(20), heard(path(10)), 20.0)
    routes.observed({"k": THEIRS}, 20.0)
    election.note(mine(20), heard(), 30.0)
    routes.observed({"k": THEIRS}, 30.0 + HOLD)
    assert routes.permits(TAKE, 30.0 + HOLD)


# --- several leaves, reflectors and one table ------------------------------------------------------------


@attrs.define
class Leaf:
    """A leaf with its loop: it looks at the table when it was woken, and every `RESYNC` seconds."""

    priority: int
    alive: bool = True
    looked: float = -1e9
    was: Standing | None = None
    election: Election = attrs.field(factory=Election)
    routes: RoutePermission = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.routes = RoutePermission(self.election, str(self.priority), HOLD)


RESYNC = 300.0


@attrs.define
class Site:
    """A site whose clock moves in whole seconds."""

    leaves: list[Leaf]
    links: set[tuple[int, int]]
    reflectors: int = 1
    now: float = 0.0
    owner: str | None = None
    writes: list[tuple[float, str]] = attrs.field(factory=list)

    def _hears(self, leaf: Leaf) -> RouteSet:
        routes: list[LearnedRoute] = []
        there = [rr for rr in range(self.reflectors) if (leaf.priority, rr) in self.links]
        for rr in there:
            present = [o.priority for o in self.leaves if o.alive and (o.priority, rr) in self.links]
            best = min(present)
            if best != leaf.priority:
                routes.append(path(best, RR1 + rr))
        return heard(*routes, by=[RR1 + rr for rr in there])

    def _pass(self, leaf: Leaf) -> None:
        """Do what the lane of a leaf does once it is woken."""
        leaf.looked = self.now
        found = {} if self.owner is None else {"k": FabricRoute(next_hop=self.owner)}
        leaf.routes.observed(found, self.now)
        own = FabricRoute(next_hop=str(leaf.priority))
        if found.get("k") == own:
            return
        if leaf.routes.permits(Change(key="k", before=found.get("k"), after=own), self.now):
            self.owner = str(leaf.priority)
            self.writes.append((self.now, self.owner))
            leaf.routes.won("k")

    def run(self, seconds: int, step: int = 1) -> None:
        for _ in range(0, seconds, step):
            self.now += step
            active: list[int] = []
            for leaf in self.leaves:
                if not leaf.alive:
                    continue
                before = leaf.election.active(HOLD, self.now - step), leaf.was
                leaf.election.note(mine(leaf.priority), self._hears(leaf), self.now)
                leaf.was = leaf.election.standing
                changed = before != (leaf.election.active(HOLD, self.now), leaf.was)
                if changed or self.now - leaf.looked >= RESYNC:
                    self._pass(leaf)
                active += [leaf.priority] * leaf.election.active(HOLD, self.now)
            if self.whole:
                assert len(active) <= 1, f"{active} are active at {self.now}"

    @property
    def whole(self) -> bool:
        """Say whether every leaf that is there hears of the others."""
        return all((each.priority, 0) in self.links for each in self.leaves if each.alive)

    def kill(self, priority: int) -> None:
        for at, leaf in enumerate(self.leaves):
            if leaf.priority == priority:
                self.leaves[at] = Leaf(priority, alive=False)

    def raise_again(self, priority: int) -> None:
        self.leaves = [Leaf(priority) if each.priority == priority else each for each in self.leaves]


def site(*priorities: int, reflectors: int = 1) -> Site:
    links = set(product(priorities, range(reflectors)))
    return Site(leaves=[Leaf(each) for each in priorities], links=links, reflectors=reflectors)


def test_one_takeover_each_way() -> None:
    made = site(10, 20)
    made.run(100)
    made.kill(10)
    made.run(100)
    made.raise_again(10)
    made.run(1000)
    assert [who for _, who in made.writes] == ["10", "20", "10"]
    assert [at for at, _ in made.writes] == [1 + HOLD, 101 + HOLD, 201 + HOLD]


def test_who_comes_and_goes_within_the_hold_down_changes_nothing() -> None:
    made = site(10, 20)
    made.run(100)
    for _ in range(20):
        made.kill(10)
        made.run(int(HOLD) - 1)
        made.raise_again(10)
        made.run(int(HOLD) - 1)
    assert [who for _, who in made.writes] == ["10"]


def test_the_reflector_goes_and_nobody_writes() -> None:
    made = site(10, 20)
    made.run(100)
    links, made.links = made.links, set()
    made.run(2000)
    made.links = links
    made.run(2000)
    assert [who for _, who in made.writes] == ["10"]


@pytest.mark.parametrize("lost", [(10, 0), (10, 1), (20, 0), (20, 1)])
def test_one_session_of_two_is_enough(lost: tuple[int, int]) -> None:
    made = site(10, 20, reflectors=2)
    made.run(100)
    made.links.discard(lost)
    made.run(2000)
    made.links.add(lost)
    made.run(2000)
    assert [who for _, who in made.writes] == ["10"]


def test_in_two_parts_the_route_changes_hands_seldom_and_ends_where_it_belongs() -> None:
    """Each of two reflectors sees one leaf, for four hours; then they see both again."""
    made = site(10, 20, reflectors=2)
    made.run(100)
    made.links -= {(10, 1), (20, 0)}
    made.run(4 * 3600)
    apart = made.writes[1:]
    gaps = [later - earlier for (earlier, _), (later, _) in pairwise(apart)]
    assert apart[0] == (101 + HOLD, "20")
    assert min(gaps) >= CONTEST
    made.links |= {(10, 1), (20, 0)}
    made.run(int(CONTEST + RESYNC) + 100)
    assert made.owner == "10"
    settled = len(made.writes)
    made.run(3 * 3600)
    assert len(made.writes) == settled


EVENTS = st.lists(
    st.tuples(st.sampled_from(["kill", "raise", "cut", "mend", "wait"]), st.sampled_from([10, 20, 30]),
              st.integers(0, 1), st.integers(1, 40)),
    max_size=25,
)  # fmt: skip


@given(EVENTS)
def test_whatever_happens_no_leaf_writes_more_often_than_its_hold_down(
    events: list[tuple[str, int, int, int]],
) -> None:
    """And when everything is whole again, the best one has the route, and nothing is written any more."""
    made = site(10, 20, 30, reflectors=2)
    for what, priority, reflector, seconds in events:
        if what == "kill":
            made.kill(priority)
        elif what == "raise":
            made.raise_again(priority)
        elif what == "cut":
            made.links.discard((priority, reflector))
        elif what == "mend":
            made.links.add((priority, reflector))
        made.run(seconds)
    for leaf in made.leaves:
        if not leaf.alive:
            made.raise_again(leaf.priority)
    made.links = set(product((10, 20, 30), range(2)))
    made.run(int(CONTEST + RESYNC) + 100, step=10)
    assert made.owner == "10"
    by_leaf: dict[str, list[float]] = {}
    for at, who in made.writes:
        by_leaf.setdefault(who, []).append(at)
    assert by_leaf
    for times in by_leaf.values():
        assert all(later - earlier >= HOLD for earlier, later in pairwise(times))
    before = Counter(who for _, who in made.writes)
    made.run(2000, step=50)
    assert Counter(who for _, who in made.writes) == before
