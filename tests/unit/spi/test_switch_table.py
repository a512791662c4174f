"""The forwarding switches of a cloud's NICs, and the loop over changes that every table uses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs
import pytest

from routerd.errors import NotOwnedError, PermanentError, StaleError, TransientError
from routerd.model.change import Change
from routerd.model.fabric import Forwarding, NicRef
from routerd.spi import SwitchTable, apply_each
from routerd.spi.cloud.switch_table import ATTEMPTS
from routerd.testing.context import RecordingLogger, make_context

NIC, OTHER = NicRef("nic-1"), NicRef("nic-2")
ON, OFF = Forwarding(enabled=True), Forwarding(enabled=False)


@attrs.frozen
class Card:
    forwarding: bool


class Cards:
    """Two NICs of a cloud, of which the first is ours; `stale` writes meet another writer."""

    def __init__(self, *, stale: int = 0) -> None:
        self.held = {NIC: False, OTHER: False}
        self.stale = stale
        self.calls: list[str] = []

    async def own(self) -> Sequence[NicRef]:
        return [NIC]

    async def read(self, nics: Sequence[NicRef]) -> Mapping[NicRef, Card]:
        self.calls.append("read")
        return {nic: Card(self.held[nic]) for nic in nics}

    async def write(self, nic: NicRef, seen: Card, enabled: bool) -> None:
        self.calls.append("write")
        assert seen.forwarding is not enabled
        if self.stale:
            self.stale -= 1
            raise StaleError(f"{nic} has changed")
        self.held[nic] = enabled


def turn(nic: NicRef, after: Forwarding | None = ON) -> Change[NicRef, Forwarding]:
    return Change(key=nic, before=OFF, after=after)


async def test_only_our_switches_show(tmp_path: Path) -> None:
    assert await SwitchTable(make_context(tmp_path), Cards()).observe() == {NIC: OFF}


async def test_a_switch_is_read_written_and_logged_once(tmp_path: Path) -> None:
    cards, log = Cards(), RecordingLogger()
    table = SwitchTable(make_context(tmp_path, log=log), cards)
    assert await table.apply([turn(NIC)]) == {}
    assert await table.apply([turn(NIC)]) == {}
    assert cards.calls == ["read", "write", "read"]
    assert log.events() == ["forwarding.set"]


async def test_a_deletion_leaves_the_switch_alone(tmp_path: Path) -> None:
    cards = Cards()
    assert await SwitchTable(make_context(tmp_path), cards).apply([turn(NIC, None)]) == {}
    assert cards.calls == []


async def test_a_foreign_nic_is_refused_and_stops_no_other(tmp_path: Path) -> None:
    cards = Cards()
    failures = await SwitchTable(make_context(tmp_path), cards).apply([turn(OTHER), turn(NIC)])
    assert isinstance(failures.pop(OTHER), NotOwnedError)
    assert failures == {}
    assert cards.held == {NIC: True, OTHER: False}


async def test_a_write_that_met_another_writer_is_made_on_a_fresh_reading(tmp_path: Path) -> None:
    cards = Cards(stale=ATTEMPTS - 1)
    assert await SwitchTable(make_context(tmp_path), cards).apply([turn(NIC)]) == {}
    assert cards.calls == ["read", "write"] * ATTEMPTS
    assert cards.held[NIC]


async def test_a_switch_that_somebody_keeps_writing_is_given_up(tmp_path: Path) -> None:
    cards = Cards(stale=ATTEMPTS)
    failures = await SwitchTable(make_context(tmp_path), cards).apply([turn(NIC)])
    assert isinstance(failures[NIC], StaleError)


async def test_a_dry_run_reads_and_refuses_to_write(tmp_path: Path) -> None:
    cards = Cards()
    table = SwitchTable(make_context(tmp_path, plugin="cloud_x", read_only=True), cards)
    assert await table.observe() == {NIC: OFF}
    failures = await table.apply([turn(NIC)])
    assert isinstance(failures[NIC], PermanentError)
    assert str(failures[NIC]) == "cloud_x: a dry run changes nothing"
    assert "write" not in cards.calls


async def test_one_failing_change_stops_no_other() -> None:
    made: list[str] = []

    async def make(change: Change[str, int]) -> None:
        if change.key == "b":
            raise TransientError("busy")
        made.append(change.key)

    failures = await apply_each([Change(key=key, before=None, after=1) for key in "abc"], make)
    assert (made, {key: str(error) for key, error in failures.items()}) == (["a", "c"], {"b": "busy"})


async def test_what_is_not_a_provider_error_goes_through() -> None:
    async def make(_: Change[str, int]) -> None:
        raise KeyError("bug")

    with pytest.raises(KeyError):
        await apply_each([Change(key="a", before=None, after=1)], make)
