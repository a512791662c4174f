"""A router that is really killed, again and again, amid its calls, is right after the next start."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from ipaddress import IPv4Network
from pathlib import Path

import attrs
import pytest
from tests.cloud.account import Account
from tests.cloud.account_azure import AzureAccount
from tests.cloud.account_oci import OciAccount
from tests.cloud.chaos_process import Elsewhere
from tests.cloud.chaos_verdict import leftovers
from tests.cloud.chaos_world import World
from tests.cloud.ledger import Ledger
from tests.cloud.mortal import Orders
from tests.cloud.storm_time import WatchedLoop

pytestmark = [pytest.mark.cloud, pytest.mark.timeout(600)]

ROUNDS = int(os.environ.get("STORM_KILLS", "4"))
SECONDS = 90.0


@contextlib.asynccontextmanager
async def running(world: World, final: Sequence[IPv4Network] | None) -> AsyncIterator[None]:
    """Run a process on the world's state directory, and kill it at the end."""
    ports = [
        (name, api.port, int(socket.getaddrinfo(name, api.port)[0][4][1]))
        for api in world.account.apis()
        for name in api.names
    ]
    orders = Orders(
        provider=world.account.provider,
        options=world.options,
        directory=str(world.directory),
        ports=ports,
        prefixes=[str(each) for each in (*world.account.prefixes, *world.account.inside)],
        final=None if final is None else [str(each) for each in final],
    )
    world.elsewhere = Elsewhere()
    with (world.directory / "log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.cloud.mortal", json.dumps(attrs.asdict(orders))),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        yield
        assert process.returncode is None, (world.directory / "log").read_text()[-4000:]
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGKILL)
        await process.wait()
        world.elsewhere = None


async def until(holds: Callable[[], bool], world: World) -> None:
    """Wait for something; what it waited for in vain is in the log."""
    end = asyncio.get_running_loop().time() + SECONDS
    while not holds():
        late = asyncio.get_running_loop().time() > end
        assert not late, f"{world.account.view()}\n{(world.directory / 'log').read_text()[-6000:]}"
        await asyncio.sleep(0.02)


async def survive(account: Account, directory: Path) -> None:
    world = World(account=account, directory=directory)
    foreign, wanted = account.prefixes[0], account.prefixes[1:]
    world.meddle(lambda: account.place(account.tables[0], foreign, "elsewhere", "a"))
    # Time stands still here, so that no deletion could have waited long enough.
    world.undoing = True
    async with world.served():
        for _ in range(ROUNDS):
            async with running(world, None):
                written = world.writes + random.randint(1, 6)
                await until(lambda written=written: world.writes >= written, world)  # type: ignore[misc]
                await asyncio.sleep(random.uniform(0.0, 0.3))
            assert not world.wrongs, "\n".join(world.wrongs)
        world.wanted = frozenset(wanted)
        desired = world.desired(aggregate=False)
        async with running(world, [foreign, *wanted]):
            await until(lambda: account.view().ours == desired and account.view().switch, world)
        await world.rest()
        assert not world.wrongs, "\n".join(world.wrongs)
        assert Ledger.read(world.state).owned() >= desired
        removed = await world.down()
        assert [*removed.failed, *world.wrongs, *leftovers(world)] == []


@pytest.mark.parametrize("account", [OciAccount, AzureAccount])
def test_who_is_killed_again_and_again_ends_right(account: Callable[[], Account], place: Path) -> None:
    with asyncio.Runner(loop_factory=WatchedLoop) as runner:
        runner.run(survive(account(), place))
