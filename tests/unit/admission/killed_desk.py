"""A desk that is killed at the nth step of its way to the disk; run by `test_desk_killed.py`.

Each step is a statement of SQLite, or a write or sync of the second copy of revocations. The
scenario runs in a forked process and notes, in a pipe, what was answered; the parent then opens
what is left and compares. It prints how many steps there were.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import sys
import tempfile
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from tests.unit.admission.enrollment_world import NOW, QuickClock, Reflector, claim, signed

from routerd.errors import EnrollmentRefused
from routerd.model.claim import Claim
from routerd.model.specs.claim_codec import claim_to_document
from routerd.store import Store, database, open_store

MOST = 400


class Counter:
    """Kills the process before step `last`."""

    def __init__(self, last: int) -> None:
        self.left = last

    def step(self) -> None:
        self.left -= 1
        if not self.left:
            os.kill(os.getpid(), signal.SIGKILL)


class Watched:
    """A connection whose every statement is a step."""

    def __init__(self, inner: sqlite3.Connection, counter: Counter) -> None:
        self._inner = inner
        self._counter = counter

    def execute(self, sql: str, parameters: Sequence[Any] = (), /) -> Any:
        self._counter.step()
        return self._inner.execute(sql, parameters)

    def close(self) -> None:
        self._inner.close()


def watch(counter: Counter) -> None:
    connected, write, fsync = database._connected, os.write, os.fsync

    def stepping(function: Any) -> Any:
        def call(*arguments: Any) -> Any:
            counter.step()
            return function(*arguments)

        return call

    database._connected = lambda path: Watched(connected(path), counter)  # type: ignore[assignment,return-value]
    os.write, os.fsync = stepping(write), stepping(fsync)  # type: ignore[misc]


FIRST, RENEWED, SECOND, THIEF, BACK = "first", "renewed", "second", "thief", "back"


async def claims() -> dict[str, Claim]:
    return {
        FIRST: await signed(claim(), minutes=0),
        RENEWED: await signed(claim(), minutes=1),
        SECOND: await signed(claim("leaf-b", 32), minutes=0),
        THIEF: await signed(claim("leaf-c", 33, owned_addresses=("10.77.60.32/32",)), minutes=0),
        BACK: await signed(claim(), minutes=5),
    }


async def scenario(place: Path, pipe: int, counter: Counter) -> None:
    clock = QuickClock()
    rr = Reflector(place / "routerd.db", clock)
    made = await claims()
    write = os.write
    watch(counter)
    store = open_store(rr.path, clock=clock)
    desk = rr.desk(store)

    async def submit(name: str) -> None:
        try:
            await desk.submit(claim_to_document(made[name]), None)
        except EnrollmentRefused:
            write(pipe, json.dumps(f"refused {name}").encode() + b"\n")
        else:
            write(pipe, json.dumps(f"accepted {name}").encode() + b"\n")

    await submit(FIRST)
    await clock.advance(120)
    await asyncio.gather(submit(RENEWED), submit(SECOND))
    await submit(THIEF)
    await desk.revoke("leaf-a", "lost", None)
    write(pipe, b'"revoked"\n')
    await clock.advance(180)
    await desk.decide("leaf-a", "approve", "found")
    write(pipe, b'"lifted"\n')
    await submit(BACK)
    await desk.aclose()
    store.close()
    write(pipe, b'"done"\n')


def check(store: Store, answered: list[str], made: dict[str, Claim]) -> list[str]:
    """Return what is wrong with what was left behind."""
    state = store.admission.load()
    held = {each.claim.name: each.claim for each in state.admitted}
    wrong = [f"{each.name} is set aside: {each.reason}" for each in state.quarantined]
    if "leaf-c" in held:
        wrong.append("a claim that was refused is there")
    if f"accepted {SECOND}" in answered and held.get("leaf-b") != made[SECOND]:
        wrong.append("an acknowledged claim is lost")
    newest = next((name for name in (BACK, RENEWED, FIRST) if f"accepted {name}" in answered), None)
    kept = held.get("leaf-a")
    if newest is not None and (kept is None or kept.join_timestamp < made[newest].join_timestamp):
        wrong.append(f"the acknowledged claim {newest} is lost")
    revocations = state.revocations
    if "revoked" in answered and not revocations:
        wrong.append("an acknowledged revocation is lost")
    if kept is not None and revocations and revocations[0].lifted_at is None and not kept.revoked:
        # Half of it is on the disk: the second copy. The claim must count as revoked all the same.
        rr = Reflector(store.path, QuickClock(NOW + timedelta(minutes=5)))
        if any(each.claim.name == "leaf-a" and not each.claim.revoked for each in rr.desk(store).admitted()):
            wrong.append("a revoked claim holds")
    wrong += [
        f"the nonce of {each.name} is not known"
        for each in held.values()
        if store.admission.used_nonce("SAMEnrollmentPolicy/p", each.join_nonce) is None
    ]
    return wrong


def main() -> None:
    made = asyncio.run(claims())
    for last in range(1, MOST):
        with tempfile.TemporaryDirectory() as name:
            place = Path(name)
            reading, writing = os.pipe()
            child = os.fork()
            if not child:
                os.close(reading)
                asyncio.run(scenario(place, writing, Counter(last)))
                os._exit(0)
            os.close(writing)
            with os.fdopen(reading) as pipe:
                answered = [json.loads(line) for line in pipe]
            _, status = os.waitpid(child, 0)
            store = open_store(place / "routerd.db", clock=QuickClock())
            wrong = check(store, answered, made)
            store.close()
            if store.salvaged is not None:
                wrong.append("the state file is damaged")
            if wrong:
                raise SystemExit(f"killed at step {last}, after {answered}: {'; '.join(wrong)}")
            if "done" in answered:
                if os.waitstatus_to_exitcode(status):
                    raise SystemExit(f"it ended with status {status}")
                sys.stdout.write(f"{last - 1}\n")
                return
            if os.waitstatus_to_exitcode(status) != -signal.SIGKILL:
                raise SystemExit(f"step {last}: it ended by itself, status {status}, after {answered}")
    raise SystemExit("there are more steps than were tried")


if __name__ == "__main__":
    main()
