"""Sysctls as a table, on a directory in the place of /proc/sys."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import pytest

from routerd.errors import PermanentError, TransientError
from routerd.kernel.sysctl import SysctlTable
from routerd.model.change import Change
from routerd.testing.contracts import Samples, TableContract, TableRules

FORWARD = "net.ipv4.ip_forward"
FILTER = "net.ipv4.conf.eth0.100.rp_filter"


class KeptOriginals:
    """Originals in a dictionary."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}

    def record(self, key: str, value: str) -> None:
        self.values[key] = value

    def forget(self, key: str) -> None:
        self.values.pop(key, None)

    def all(self) -> Mapping[str, str]:
        return dict(self.values)


@pytest.fixture
def originals() -> KeptOriginals:
    return KeptOriginals()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, value in {"net/ipv4/ip_forward": "0\n", "net/ipv4/conf/eth0.100/rp_filter": "1\n"}.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(value)
    return tmp_path


@pytest.fixture
def table(originals: KeptOriginals, root: Path) -> SysctlTable:
    return SysctlTable(originals, root=root)


class TestSysctlTable(TableContract):
    tables: ClassVar[tuple[TableRules, ...]] = (TableRules(attribute="sysctls", foreign=False),)

    @pytest.fixture
    def table(self, originals: KeptOriginals, root: Path) -> SysctlTable:
        return SysctlTable(originals, root=root)

    @pytest.fixture
    def samples(self) -> Samples[str, str]:
        return Samples(
            values={FORWARD: "1", FILTER: "2"},
            replacement={FILTER: "0"},
            refused={"net.ipv4.no_such_setting": "1"},
        )


def create(key: str, value: str) -> list[Change[str, str]]:
    return [Change(key=key, before=None, after=value)]


def delete(key: str, value: str) -> list[Change[str, str]]:
    return [Change(key=key, before=value, after=None)]


async def test_a_deletion_restores_the_value_before_the_first_change(table: SysctlTable, root: Path) -> None:
    path = root / "net/ipv4/conf/eth0.100/rp_filter"
    await table.apply(create(FILTER, "2"))
    await table.apply([Change(key=FILTER, before="2", after="0")])
    assert path.read_text().strip() == "0"
    assert await table.apply(delete(FILTER, "0")) == {}
    assert path.read_text().strip() == "1"


async def test_the_original_is_recorded_before_the_value_is_written(
    originals: KeptOriginals, root: Path
) -> None:
    class Failing(KeptOriginals):
        def record(self, key: str, value: str) -> None:
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        await SysctlTable(Failing(), root=root).apply(create(FORWARD, "1"))
    assert (root / "net/ipv4/ip_forward").read_text() == "0\n"


async def test_restoring_a_setting_whose_link_is_gone_is_a_success(
    table: SysctlTable, originals: KeptOriginals, root: Path
) -> None:
    await table.apply(create(FILTER, "2"))
    (root / "net/ipv4/conf/eth0.100/rp_filter").unlink()
    (root / "net/ipv4/conf/eth0.100").rmdir()
    assert await table.observe() == {}
    assert await table.apply(delete(FILTER, "2")) == {}
    assert originals.values == {}


async def test_a_link_that_returns_has_a_new_original(
    table: SysctlTable, originals: KeptOriginals, root: Path
) -> None:
    path = root / "net/ipv4/conf/eth0.100/rp_filter"
    await table.apply(create(FILTER, "2"))
    path.unlink()
    await table.observe()
    path.write_text("0\n")
    await table.apply(create(FILTER, "2"))
    assert originals.values[FILTER] == "0"


async def test_a_missing_setting_names_the_key_and_is_transient(table: SysctlTable) -> None:
    failures = await table.apply(create("net.ipv4.conf.gone0.rp_filter", "2"))
    error = failures["net.ipv4.conf.gone0.rp_filter"]
    assert isinstance(error, TransientError)
    assert str(error) == (
        "sysctl net.ipv4.conf.gone0.rp_filter: it does not exist; its link or kernel module is missing"
    )


@pytest.mark.parametrize("key", ["../../etc/passwd", "net/../../x", "net..x", "", "net/ipv4/./x"])
async def test_a_key_never_leaves_the_tree(table: SysctlTable, key: str) -> None:
    failures = await table.apply(create(key, "1"))
    assert isinstance(failures[key], PermanentError)


async def test_blanks_in_values_do_not_matter(
    table: SysctlTable, originals: KeptOriginals, root: Path
) -> None:
    path = root / "net/ipv4/tcp_rmem"
    path.write_text("4096\t131072\t6291456\n")
    await table.apply(create("net.ipv4.tcp_rmem", "4096 131072 6291456"))
    assert path.read_text() == "4096\t131072\t6291456\n"
    assert await table.observe() == {"net.ipv4.tcp_rmem": "4096 131072 6291456"}


async def test_settings_that_move_with_forwarding_are_recorded_and_restored(
    table: SysctlTable, originals: KeptOriginals, root: Path
) -> None:
    redirects, device, other = (
        root / f"net/ipv4/conf/{name}"
        for name in ("all/accept_redirects", "eth0/forwarding", "eth1/forwarding")
    )
    for path in (redirects, device, other):
        path.parent.mkdir(parents=True, exist_ok=True)
    redirects.write_text("0\n")
    device.write_text("1\n")
    other.write_text("1\n")
    await table.apply(create(FORWARD, "1"))
    other.unlink()  # its device goes; what the kernel would do to the rest is done here
    redirects.write_text("1\n")
    device.write_text("0\n")
    assert await table.observe() == {FORWARD: "1"}
    # The next daemon knows of it too.
    assert await SysctlTable(originals, root=root).apply(delete(FORWARD, "1")) == {}
    assert (redirects.read_text(), device.read_text()) == ("0\n", "1\n")
    assert not other.exists()
    assert originals.values == {}


async def test_forwarding_that_moves_nothing_records_only_its_value(
    table: SysctlTable, originals: KeptOriginals
) -> None:
    await table.apply(create(FORWARD, "1"))
    assert originals.values == {FORWARD: "0"}


async def test_all_originals_of_a_batch_are_read_before_the_first_write(
    originals: KeptOriginals, root: Path
) -> None:
    class Watching(KeptOriginals):
        def record(self, key: str, value: str) -> None:
            super().record(key, value)
            seen.append((root / "net/ipv4/ip_forward").read_text())

    seen: list[str] = []
    await SysctlTable(Watching(), root=root).apply([*create(FORWARD, "1"), *create(FILTER, "2")])
    assert seen == ["0\n", "0\n"]
