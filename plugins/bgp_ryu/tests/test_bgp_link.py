"""The conversation with the speaker's process, where it breaks off."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from routerd.errors import TransientError
from routerd.process.clock import SystemClock
from routerd.testing.context import make_context
from routerd_bgp_ryu import link as link_module
from routerd_bgp_ryu.config import BgpOptions
from routerd_bgp_ryu.link import SpeakerLink, _Connection
from routerd_bgp_ryu.testing.processes import speakers
from routerd_bgp_ryu.wire import encode


class FullSocket:
    """A writer whose buffer is full until `end`, which says how the drain ends."""

    def __init__(self) -> None:
        self.draining = asyncio.Event()
        self.end: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def write(self, _: bytes) -> None: ...

    async def drain(self) -> None:
        self.draining.set()
        await self.end

    def close(self) -> None: ...


async def ended(request: asyncio.Future[object]) -> type[BaseException] | None:
    # In a frame of its own: an exception's traceback would keep alive what must be collected.
    try:
        await request
    except (asyncio.CancelledError, TransientError) as error:
        return type(error)
    return None


@pytest.mark.parametrize("cancelled", [False, True])
async def test_a_request_that_is_still_being_sent_when_the_process_goes_leaves_nothing_unsaid(
    tmp_path: Path, cancelled: bool
) -> None:
    unsaid: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unsaid.append(context["message"]))
    link = SpeakerLink(make_context(tmp_path), BgpOptions(), lambda: None)
    writer: Any = FullSocket()
    connection = _Connection(asyncio.StreamReader(), writer)
    request = asyncio.ensure_future(link.ask("state", on=connection))
    await writer.draining.wait()
    connection.close()
    if cancelled:
        request.cancel()
    else:
        writer.end.set_exception(ConnectionResetError())
    assert await ended(request) is (asyncio.CancelledError if cancelled else TransientError)
    del request, writer.end
    await asyncio.sleep(0)  # the loop itself holds what woke us until its next turn
    gc.collect()
    assert unsaid == []
    assert connection.waiting == {}


async def test_an_answer_that_comes_while_the_request_is_still_being_sent_is_not_lost(tmp_path: Path) -> None:
    link = SpeakerLink(make_context(tmp_path), BgpOptions(), lambda: None)
    writer: Any = FullSocket()
    connection = _Connection(asyncio.StreamReader(), writer)
    request = asyncio.ensure_future(link.ask("state", on=connection))
    await writer.draining.wait()
    connection.reader.feed_data(encode({"id": 1, "result": 7}))
    connection.reader.feed_eof()
    await link._read(connection)
    writer.end.set_result(None)
    assert await request == 7


@pytest.mark.live
async def test_a_process_that_does_not_end_is_killed(
    short_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link_module, "STOP_DEADLINE", 0.5)
    monkeypatch.setattr(link_module, "KILL_DEADLINE", 120.0)
    context = make_context(short_path)
    link = SpeakerLink(context, BgpOptions(), lambda: None)
    await link.start()
    (process,) = speakers(context.run_dir)
    os.kill(process, signal.SIGSTOP)
    await link.stop()
    assert not speakers(context.run_dir)
    # The next process finds no remainder of this one.
    assert not (context.run_dir / "speaker.sock").exists()
    assert not await link.find()


@pytest.mark.live
async def test_a_process_that_hangs_is_killed_and_replaced(
    short_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link_module, "ASK_DEADLINE", 0.2)
    monkeypatch.setattr(link_module, "KILL_DEADLINE", 120.0)
    context = make_context(short_path, clock=SystemClock())
    changes: list[None] = []
    link = SpeakerLink(context, BgpOptions(), lambda: changes.append(None))
    monkeypatch.setattr(link_module, "ASK_DEADLINE", 60.0)
    await link.start()
    (process,) = speakers(context.run_dir)
    os.kill(process, signal.SIGSTOP)
    monkeypatch.setattr(link_module, "ASK_DEADLINE", 0.1)
    # A question without an answer is not yet a process that hangs.
    with pytest.raises(TransientError, match="did not answer states"):
        await link.ask("states")
    assert speakers(context.run_dir) == [process]
    monkeypatch.setattr(link_module, "HANG_SECONDS", 0.1)
    with pytest.raises(TransientError, match="was killed; the loop starts another"):
        await link.ask("states")
    assert speakers(context.run_dir) == []
    assert changes
    monkeypatch.setattr(link_module, "ASK_DEADLINE", 60.0)
    await link.start()
    assert await link.ask("states") == []
    (another,) = speakers(context.run_dir)
    assert another != process
    await link.stop()


@pytest.mark.live
async def test_a_process_of_another_network_namespace_is_not_adopted(
    short_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = make_context(short_path)
    earlier = SpeakerLink(context, BgpOptions(), lambda: None)
    await earlier.start()
    earlier.close()
    (process,) = speakers(context.run_dir)
    dry = SpeakerLink(make_context(short_path, read_only=True), BgpOptions(), lambda: None)
    with monkeypatch.context() as patch:
        patch.setattr(link_module.Helper, "is_in_our_network", lambda _: False)
        with pytest.raises(TransientError, match="in another network namespace; a dry run"):
            await dry.find()
        assert speakers(context.run_dir) == [process]
        link = SpeakerLink(context, BgpOptions(), lambda: None)
        with pytest.raises(TransientError, match="in another network namespace and was killed"):
            await link.find()
        assert speakers(context.run_dir) == []
    await link.start()
    await link.stop()
