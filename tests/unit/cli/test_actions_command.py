"""`routerd actions` over a real socket and a real state file: what it prints, and how it ends."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.unit.cli.command_line import Done, routerd
from tests.unit.control.admin_world import MemoryView, request
from tests.unit.runtime.action_world import CloudWorld, key

from routerd.control.admin import admin_app, serve_admin
from routerd.errors import ActionRefused, ConfigError
from routerd.model.change import Change
from routerd.model.fabric import FabricRoute


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[CloudWorld]:
    made = CloudWorld(tmp_path, "approve")
    made.remote = {1, 2}
    await made.passes()
    yield made
    made.store.close()


@asynccontextmanager
async def serving(world: CloudWorld, tmp_path: Path) -> AsyncIterator[Path]:
    socket = tmp_path / "routerd.sock"
    view = MemoryView()
    runner = await serve_admin(admin_app(view, view, {}, actions=world.actions), socket)
    try:
        yield socket
    finally:
        await runner.cleanup()


async def ask(world: CloudWorld, tmp_path: Path, *words: object) -> Done:
    async with serving(world, tmp_path):
        return await offline(tmp_path, *words)


async def offline(tmp_path: Path, *words: object) -> Done:
    done = await asyncio.to_thread(routerd, "actions", *words, "--run-dir", tmp_path, "--state-dir", tmp_path)
    assert "Traceback" not in done.out + done.err
    return done


async def ids(world: CloudWorld) -> list[str]:
    return [each.id for each in await world.open()]


async def test_what_waits_and_what_was_made_are_two_tables(world: CloudWorld, tmp_path: Path) -> None:
    first, second = await ids(world)
    await world.approve(first)
    await world.passes()
    done = await ask(world, tmp_path, "list")
    assert done.status == 0
    rows = [line.split() for line in done.out.splitlines()]
    assert rows[0] == ["Not", "made"]
    (switch,) = [each.id for each in await world.open("forwarding")]
    assert [row[0] for row in rows[2:4]] == [switch, second]
    assert "waits for approval" in done.out
    assert rows[-1][:3] == ["1", "aws", "add"]
    assert "10.99.0.1/32 to nic-1 in table table-1" in done.out.splitlines()[-1]


async def test_the_document_names_every_part_of_a_change(world: CloudWorld, tmp_path: Path) -> None:
    found = json.loads((await ask(world, tmp_path, "list", "--json", "--profile", "aws")).out)
    route = found["open"][1]
    assert {
        name: route[name] for name in ("profile", "table", "verb", "prefix", "routeTable", "from", "to")
    } == {
        "profile": "aws",
        "table": "routes",
        "verb": "create",
        "prefix": "10.99.0.1/32",
        "routeTable": "table-1",
        "from": None,
        "to": "nic-1",
    }
    assert (route["state"], route["when"]) == ("waiting", "2026-01-01T00:00:00Z")
    assert json.loads((await ask(world, tmp_path, "list", "--json", "--profile", "oci")).out)["open"] == []


async def test_approving_says_what_was_approved(world: CloudWorld, tmp_path: Path) -> None:
    first, _ = await ids(world)
    done = await ask(world, tmp_path, "approve", first)
    assert done.out == f"approved {first}: add route 10.99.0.1/32 to nic-1 in table table-1\n"
    assert len((await ask(world, tmp_path, "approve", "--all")).out.splitlines()) == 2
    assert (await ask(world, tmp_path, "approve", "--all")).out == "no change waits for approval\n"
    assert json.loads((await ask(world, tmp_path, "approve", first, "--json")).out)["approved"]
    refused = await ask(world, tmp_path, "approve", "nothing")
    assert (refused.status, refused.out) == (1, "")
    assert refused.err.startswith("routerd: change nothing: not waiting here")


@pytest.mark.parametrize("words", [(), ("abc", "--all"), ("abc", "--profile", "aws")])
async def test_approving_needs_ids_or_all(world: CloudWorld, tmp_path: Path, words: tuple[str, ...]) -> None:
    assert (await ask(world, tmp_path, "approve", *words)).status == 2


async def test_undoing_says_what_was_done_and_refusing_says_why(world: CloudWorld, tmp_path: Path) -> None:
    await world.approve(every=True)
    await world.passes()
    number = world.number("create")
    done = await ask(world, tmp_path, "undo", number)
    assert done.status == 0
    assert done.out.startswith(
        f"undone {number}: remove route 10.99.0.2/32 to nic-1 from table table-1 (change "
    )
    done = await ask(world, tmp_path, "undo", number)
    assert (done.status, done.out) == (1, "")
    assert done.err.startswith(f"routerd: entry {number} was undone already, by entry")
    for word in ("0", "-1", "x", str(1 << 63)):
        assert (await ask(world, tmp_path, "undo", "--", word)).status == 2


async def test_one_change_is_shown_with_its_story_and_what_undo_would_do(
    world: CloudWorld, tmp_path: Path
) -> None:
    first, _ = await ids(world)
    done = await ask(world, tmp_path, "show", first.upper())
    assert done.out.startswith(f"{first}  waits for approval\n")
    await world.approve(first)
    await world.passes()
    done = await ask(world, tmp_path, "show", world.number("create"))
    assert "undo           would remove route 10.99.0.1/32" in done.out
    assert "What was done to it" in done.out
    assert (await ask(world, tmp_path, "show", 4711)).err == (
        "routerd: entry 4711: not in the journal; see `routerd actions list`\n"
    )
    assert (await ask(world, tmp_path, "show", "what/../ever")).status == 1


async def test_without_a_daemon_the_state_file_is_read_and_not_touched(
    world: CloudWorld, tmp_path: Path
) -> None:
    first, second = await ids(world)
    await world.approve(first)
    await world.passes()
    await world.approve(second)
    world.store.close()
    before = (tmp_path / "routerd.db").read_bytes()
    done = await offline(tmp_path, "list")
    assert done.status == 0
    assert "routerd.sock: no daemon; the socket does not exist" in done.out
    assert f"{second}  aws      add route 10.99.0.2/32 to nic-1 in table table-1  approved" in done.out
    assert "would remove route" in (await offline(tmp_path, "show", 1)).out
    assert (await offline(tmp_path, "show", second)).status == 0
    assert (await offline(tmp_path, "approve", second)).status == 1
    assert (tmp_path / "routerd.db").read_bytes() == before
    shutil.rmtree(tmp_path)
    tmp_path.mkdir()
    done = await offline(tmp_path, "list")
    assert (done.status, done.out) == (1, "")
    assert "routerd.sock: no daemon; the socket does not exist" in done.err
    assert list(tmp_path.iterdir()) == []


async def test_a_socket_that_nobody_answers_does_not_keep_the_file_from_being_read(
    world: CloudWorld, tmp_path: Path
) -> None:
    (tmp_path / "routerd.sock").touch()
    done = await offline(tmp_path, "list", "--json")
    assert done.status == 0
    assert "no daemon answers" in json.loads(done.out)["notes"][0]


async def test_a_long_journal_is_cut_to_its_end(world: CloudWorld, tmp_path: Path) -> None:
    changes = [Change(key=key(1), before=None, after=FabricRoute(next_hop=f"nic-{n}")) for n in range(20)]
    world.store.journal.begin("aws", "routes", changes)
    found = json.loads((await ask(world, tmp_path, "list", "--json", "-n", "3")).out)["journal"]
    assert [each["to"] for each in found] == ["nic-17", "nic-18", "nic-19"]
    assert [each["state"] for each in found] == ["open"] * 3
    assert (await ask(world, tmp_path, "list", "-n", "0")).status == 2


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("approve", {"ids": "abc"}),
        ("approve", {"ids": [1]}),
        ("approve", {"all": "yes"}),
        ("approve", {}),
        ("approve", {"ids": ["a"], "all": True}),
        ("undo", {}),
        ("undo", {"number": "3"}),
        ("undo", {"number": True}),
        ("undo", {"number": 1 << 63}),
    ],
)
async def test_a_body_that_makes_no_sense_decides_nothing(
    world: CloudWorld, tmp_path: Path, path: str, body: Any
) -> None:
    async with serving(world, tmp_path) as socket:
        with pytest.raises(ConfigError):
            await request(socket, "POST", f"/v1/actions/{path}", body=body)
        with pytest.raises(ActionRefused):
            await request(socket, "POST", "/v1/actions/undo", body={"number": 3})
    assert (world.store.journal.approvals(), world.store.journal.entries()) == ((), ())
