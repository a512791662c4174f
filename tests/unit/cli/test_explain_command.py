"""`routerd explain`: what it asks, what it prints, and how it ends."""

from __future__ import annotations

import asyncio
import json
from ipaddress import IPv4Network
from pathlib import Path

import pytest
from tests.unit.cli.command_line import Done, routerd
from tests.unit.control.admin_world import MemoryView, request, serving_admin

from routerd.errors import ConfigError
from routerd.model.subsystem import Flow


async def ask(view: MemoryView, tmp_path: Path, *words: object) -> Done:
    async with serving_admin(view, tmp_path):
        return await asyncio.to_thread(routerd, "explain", *words, "--run-dir", tmp_path)


async def test_the_steps_come_first_and_the_verdict_last(tmp_path: Path) -> None:
    view = MemoryView()
    done = await ask(view, tmp_path, "10.83.10.20")
    assert view.explained == [IPv4Network("10.83.10.20/32")]
    assert [line.split() for line in done.out.splitlines()] == [
        ["STEP", "WHAT", "IS", "KNOWN"],
        ["ours", "-", "not", "ours"],
        ["kernel", "ok", "says", "so"],
        [],
        ["10.83.10.20/32", "is", "what", "it", "is"],
    ]
    assert (done.status, done.err) == (0, "")


async def test_a_prefix_is_asked_for_as_a_prefix(tmp_path: Path) -> None:
    view = MemoryView()
    await ask(view, tmp_path, "10.83.0.0/16")
    assert view.explained == [IPv4Network("10.83.0.0/16")]


@pytest.mark.parametrize("options", [(), ("--json",)])
async def test_what_is_not_reachable_is_exit_status_1(tmp_path: Path, options: tuple[str, ...]) -> None:
    done = await ask(MemoryView(reachable=False), tmp_path, "10.83.10.20", *options)
    assert done.status == 1
    assert "says so" in done.out
    assert options or "BAD" in done.out


async def test_json_is_what_the_daemon_answered(tmp_path: Path) -> None:
    done = await ask(MemoryView(), tmp_path, "10.83.10.20", "--json")
    assert json.loads(done.out)["steps"][1] == {"title": "kernel", "state": "ok", "text": "says so"}


@pytest.mark.parametrize("word", ["nonsense", "10.83.10", "10.83.10.20/24", "2001:db8::1", ""])
def test_what_is_no_address_is_exit_status_2_without_a_daemon(tmp_path: Path, word: str) -> None:
    done = routerd("explain", word, "--run-dir", tmp_path)
    assert done.status == 2
    assert "Invalid value for ADDRESS" in done.err


@pytest.mark.parametrize("query", ["", "?address=", "?address=nonsense", "?address=10.0.0.1%00"])
async def test_the_socket_refuses_what_is_no_address(tmp_path: Path, query: str) -> None:
    view = MemoryView()
    async with serving_admin(view, tmp_path) as socket:
        with pytest.raises(ConfigError, match="address"):
            await request(socket, "GET", f"/v1/explain{query}")
    assert view.explained == []


async def test_two_addresses_are_a_flow_of_what_is_named(tmp_path: Path) -> None:
    view = MemoryView()
    await ask(view, tmp_path, "10.81.10.20", "10.83.10.20", "--by", "tcp/22")
    await ask(view, tmp_path, "10.81.0.0/16", "10.83.10.20")
    one, two = (IPv4Network(text) for text in ("10.81.10.20/32", "10.83.10.20/32"))
    assert view.explained == [two, two]
    assert view.flows == [
        Flow(source=one, destination=two, protocol="tcp", port=22),
        Flow(source=IPv4Network("10.81.0.0/16"), destination=two),
    ]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("10.0.0.1", "nonsense"), "Invalid value for ADDRESS"),
        (("nonsense", "10.0.0.1"), "Invalid value for SOURCE"),
        (("10.0.0.1", "10.0.0.2", "10.0.0.3"), "one address, or two; got 3"),
        (("10.0.0.1", "--by", "tcp"), "--by needs SOURCE and ADDRESS"),
        (("10.0.0.1", "10.0.0.2", "--by", "tcp/ssh"), "ssh is not a port"),
    ],
)
def test_what_is_no_flow_is_exit_status_2_without_a_daemon(
    tmp_path: Path, words: tuple[str, ...], text: str
) -> None:
    done = routerd("explain", *words, "--run-dir", tmp_path)
    assert done.status == 2
    assert text in done.err


@pytest.mark.parametrize("query", ["from=nonsense", "from=10.0.0.1&port=ssh", "from=10.0.0.1&port=65536"])
async def test_the_socket_refuses_what_is_no_flow(tmp_path: Path, query: str) -> None:
    view = MemoryView()
    async with serving_admin(view, tmp_path) as socket:
        with pytest.raises(ConfigError, match=r"from|port"):
            await request(socket, "GET", f"/v1/explain?address=10.0.0.1&{query}")
    assert view.explained == []
