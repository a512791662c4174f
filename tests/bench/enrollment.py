"""Enrollment: claims admitted, fetched and validated per second, beside a server that answers a constant.

Both are aiohttp servers in a process of their own, asked by the same client with the same number
of requests under way; the client prepares its requests beforehand and reads answers by their length.
Leaves open a connection for each request, and so does the client; figures over connections that
are kept stand beside them.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import attrs
from tests.bench import show
from tests.bench.enrollment_server import READY, claims, digest_of, wire

AT_ONCE = 32
BATCH = 500
SIZES = (100, 2000)
ROUNDS = 3
WARM_UP = 300
TICKS = os.sysconf("SC_CLK_TCK")


@attrs.frozen(kw_only=True)
class Took:
    """What a number of requests took: seconds by the clock, and of the server's processor, for each."""

    rate: float
    cpu: float


class _Client(asyncio.Protocol):
    """Sends one request after another and counts the answers that are not 200."""

    def __init__(self, requests: list[bytes], done: asyncio.Future[None]) -> None:
        self._requests = requests
        self._done = done
        self._buffer = b""
        self.failed = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._next()

    def _next(self) -> None:
        if self._requests:
            self._transport.write(self._requests.pop())
        else:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, body = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        if len(body) < length:
            return
        self.failed += not head.startswith(b"HTTP/1.1 200")
        self._buffer = b""
        self._next()

    def connection_lost(self, _: Exception | None) -> None:
        if not self._done.done():
            self._done.set_result(None)


async def _ask(port: int, requests: Sequence[bytes], *, kept: bool) -> None:
    """Send requests, a share on each connection that is kept, or each on its own."""
    loop = asyncio.get_running_loop()
    failed = 0

    async def send(several: list[bytes]) -> None:
        nonlocal failed
        done = loop.create_future()
        _, client = await loop.create_connection(lambda: _Client(several, done), "127.0.0.1", port)
        await done
        failed += client.failed + len(several)

    async def work(share: Sequence[bytes]) -> None:
        if kept:
            await send(list(share))
            return
        for each in share:
            await send([each])

    await asyncio.gather(*(work(requests[each::AT_ONCE]) for each in range(AT_ONCE)))
    if failed:
        raise SystemExit(f"{failed} requests were refused, so there is nothing to measure")


class _Server:
    def __init__(self, kind: str, place: Path, held: int) -> None:
        self._child = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.enrollment_server", kind, str(place), str(held)],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self._child.stdout is not None
        line = self._child.stdout.readline()
        if not line.startswith(READY):
            raise SystemExit("the server of the benchmark did not start")
        self.port = int(line.split()[1])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._child.kill()
        self._child.wait()

    def time(self, requests: Sequence[bytes], *, kept: bool = False) -> Took:
        before, began = self._cpu(), time.perf_counter()
        asyncio.run(_ask(self.port, requests, kept=kept))
        took = time.perf_counter() - began
        return Took(rate=len(requests) / took, cpu=(self._cpu() - before) / len(requests))

    def _cpu(self) -> float:
        fields = Path(f"/proc/{self._child.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def resident(self) -> int:
        pages = int(Path(f"/proc/{self._child.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")


def report() -> None:
    """Print rates, their ratios to the constant answer, growth with the number of claims, and memory."""
    show.title(
        f"enrollment over HTTP, {AT_ONCE} requests under way, each claim on the disk before its answer; "
        "the peer is the same server with a desk that says yes to everything"
    )
    few, many = SIZES
    memory = {}
    for kept in (False, True):
        bare, constant = _answering("constant", kept=kept), _answering("listener", kept=kept)
        title = "connections that are kept" if kept else "a connection for each request, as leaves do"
        show.row(title, "per second", "to constant", "CPU each", "to constant")
        _row("  constant answer", constant, constant)
        _row("  constant answer of a bare aiohttp server", bare, constant)
        measured = {}
        for held in SIZES:
            measured[held], memory[held] = _measured(held, kept=kept)
            for name, took in measured[held].items():
                _row(f"  {name}, {held} claims held", took, constant)
        for name, small in measured[few].items():
            large = measured[many][name]
            show.row(
                f"  {name}: cost at {many} to cost at {few}",
                show.ratio(1 / large.rate, 1 / small.rate), "", show.ratio(large.cpu, small.cpu),
            )  # fmt: skip
    each = (memory[many] - memory[few]) / (many - few) * 1000
    show.row("resident memory for 1,000 claims", f"{each / 1e6:.1f} MB")


def _row(name: str, took: Took, constant: Took) -> None:
    show.row(
        name, f"{took.rate:.0f}", show.ratio(took.rate, constant.rate),
        f"{took.cpu * 1e6:.0f} us", show.ratio(took.cpu, constant.cpu),
    )  # fmt: skip


def _answering(kind: str, *, kept: bool) -> Took:
    with tempfile.TemporaryDirectory(prefix="rdb-") as place, _Server(kind, Path(place), 0) as server:
        requests = [wire.submit(each, kept=kept) for each in claims(range(BATCH))]
        server.time(requests[:WARM_UP], kept=kept)
        return _median([server.time(requests, kept=kept) for _ in range(ROUNDS)])


def _measured(held: int, *, kept: bool) -> tuple[dict[str, Took], int]:
    """Measure with `held` claims on the disk before; each round admits `BATCH` that are new."""
    rounds: dict[str, list[Took]] = {"submit": [], "submit again": [], "fetch": []}
    memory = 0
    for number in range(ROUNDS):
        fresh = list(claims(range(held, held + BATCH), mark=str(number)))
        submits = [wire.submit(each, kept=kept) for each in fresh]
        fetches = [wire.fetch(each, digest_of(each), kept=kept) for each in fresh]
        others = claims(range(held + BATCH, held + BATCH + WARM_UP))
        with (
            tempfile.TemporaryDirectory(prefix="rdb-") as place,
            _Server("desk", Path(place), held) as server,
        ):
            memory = server.resident()
            server.time([wire.submit(each, kept=kept) for each in others], kept=kept)
            rounds["submit"].append(server.time(submits, kept=kept))
            rounds["submit again"].append(server.time(submits, kept=kept))
            rounds["fetch"].append(server.time(fetches, kept=kept))
    return {name: _median(taken) for name, taken in rounds.items()}, memory


def _median(taken: Sequence[Took]) -> Took:
    return Took(
        rate=statistics.median(each.rate for each in taken), cpu=statistics.median(each.cpu for each in taken)
    )
