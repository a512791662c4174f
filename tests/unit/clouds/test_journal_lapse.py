"""What is ours by the journal and is not found for an hour lapses; what nobody can see stays ours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest

from routerd.clouds.journal import JournaledTable
from routerd.clouds.lapse import LAPSE
from routerd.errors import NotOwnedError, ProviderError, StoreError, TransientError
from routerd.model.change import Change
from routerd.model.fabric import FabricRoute, FabricRouteKey, RouteTableRef
from routerd.store import Store, open_store
from routerd.testing.clock import FakeClock
from routerd.testing.tables import FakeTable

KEY = FabricRouteKey(table=RouteTableRef("rtb-1"), prefix=IPv4Network("10.0.0.1/32"))
ROUTE = FabricRoute(next_hop="eni-1")
CREATION = Change(key=KEY, before=None, after=ROUTE)


class Cloud(FakeTable[FabricRouteKey, FabricRoute]):
    """A table of which a part cannot be seen at times."""

    hidden: ProviderError | None = None

    def foresee(self, changes: Sequence[Change[Any, Any]]) -> Mapping[Any, ProviderError]:
        return {change.key: self.hidden for change in changes} if self.hidden is not None else {}


@pytest.fixture
def store(tmp_path: Path, fake_clock: FakeClock) -> Iterator[Store]:
    made = open_store(tmp_path / "routerd.db", clock=fake_clock)
    yield made
    made.close()


@pytest.fixture
def cloud() -> Cloud:
    return Cloud()


@pytest.fixture
def table(cloud: Cloud, store: Store, fake_clock: FakeClock) -> JournaledTable:
    return JournaledTable(cloud, store.journal, scope="aws", name="routes", clock=fake_clock)


def owned(store: Store) -> frozenset[str]:
    return store.journal.owned_keys("aws", "routes")


async def test_an_interrupted_change_of_which_nothing_is_found_ends(
    store: Store, table: JournaledTable, fake_clock: FakeClock
) -> None:
    store.journal.begin("aws", "routes", [CREATION])
    await table.observe()
    await fake_clock.advance(LAPSE - 1)
    await table.observe()
    assert owned(store) == {str(KEY)}
    await fake_clock.advance(1)
    await table.observe()
    assert owned(store) == frozenset()
    (entry,) = store.journal.entries()
    assert entry.ended
    assert entry.outcome.startswith("failed: interrupted")
    assert entry.finished_at is not None


async def test_what_somebody_makes_afterwards_is_not_deleted(
    store: Store, cloud: Cloud, table: JournaledTable, fake_clock: FakeClock
) -> None:
    assert await table.apply([CREATION]) == {}
    del cloud.content[KEY]
    await table.observe()
    await fake_clock.advance(LAPSE)
    await table.observe()
    cloud.content[KEY] = ROUTE
    await table.observe()
    assert not table.permits(Change(key=KEY, before=ROUTE, after=None))
    (entry,) = store.journal.entries()
    assert entry.outcome == "done"


async def test_what_is_found_in_between_counts_anew(
    store: Store, cloud: Cloud, table: JournaledTable, fake_clock: FakeClock
) -> None:
    store.journal.begin("aws", "routes", [CREATION])
    await table.observe()
    await fake_clock.advance(LAPSE - 1)
    cloud.content[KEY] = ROUTE
    await table.observe()
    del cloud.content[KEY]
    await fake_clock.advance(LAPSE - 1)
    await table.observe()
    assert owned(store) == {str(KEY)}


async def test_a_new_attempt_counts_anew(
    store: Store, cloud: Cloud, table: JournaledTable, fake_clock: FakeClock
) -> None:
    cloud.refusals[KEY] = TransientError("not now")
    await table.apply([CREATION])
    await table.observe()
    await fake_clock.advance(LAPSE - 1)
    await table.apply([CREATION])
    await fake_clock.advance(LAPSE - 1)
    await table.observe()
    assert owned(store) == {str(KEY)}


async def test_what_cannot_be_seen_stays_ours(
    store: Store, cloud: Cloud, table: JournaledTable, fake_clock: FakeClock
) -> None:
    store.journal.begin("aws", "routes", [CREATION])
    cloud.hidden = TransientError("cannot be seen")
    await table.observe()
    await fake_clock.advance(10 * LAPSE)
    await table.observe()
    assert owned(store) == {str(KEY)}
    cloud.hidden = NotOwnedError("somebody else's")
    await table.observe()
    assert owned(store) == frozenset()


async def test_a_full_disk_only_puts_it_off(
    store: Store, table: JournaledTable, fake_clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise StoreError("the disk is full")

    store.journal.begin("aws", "routes", [CREATION])
    await table.observe()
    await fake_clock.advance(LAPSE)
    with monkeypatch.context() as patch:
        patch.setattr(store.journal, "lapse", full)
        await table.observe()
    assert owned(store) == {str(KEY)}
    await table.observe()
    assert owned(store) == frozenset()


async def test_an_interrupted_change_that_was_made_is_done(
    store: Store, cloud: Cloud, table: JournaledTable
) -> None:
    store.journal.begin("aws", "routes", [CREATION])
    cloud.content[KEY] = ROUTE
    await table.observe()
    (entry,) = store.journal.entries()
    assert entry.outcome == "done"
    assert owned(store) == {str(KEY)}


async def test_what_may_come_back_does_not_lapse(store: Store, fake_clock: FakeClock) -> None:
    switches = JournaledTable(
        Cloud(), store.journal, scope="aws", name="routes", clock=fake_clock, lapses=False
    )
    store.journal.begin("aws", "routes", [CREATION])
    await switches.observe()
    await fake_clock.advance(10 * LAPSE)
    await switches.observe()
    assert owned(store) == {str(KEY)}


async def test_an_interrupted_deletion_of_what_still_stands_has_failed(
    store: Store, cloud: Cloud, table: JournaledTable
) -> None:
    await table.apply([CREATION])
    store.journal.begin("aws", "routes", [Change(key=KEY, before=ROUTE, after=None)])
    await table.observe()
    assert store.journal.entries()[-1].outcome == "failed: interrupted, and it is still there"
    assert owned(store) == {str(KEY)}
