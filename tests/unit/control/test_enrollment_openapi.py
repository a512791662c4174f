"""The description of the listener: valid, whole, and true of what is answered."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import IPv4Address
from pathlib import Path

import openapi_spec_validator
import pytest
from tests.support.openapi import Document, document
from tests.unit.admission import enrollment_world as world
from tests.unit.control.listener_world import FakeDesk

from routerd.control import enrollment_api as api
from routerd.control.access import AccessRules, address_of
from routerd.control.enrollment import enrollment_app, serve_enrollment
from routerd.control.rate_limit import RateLimit
from routerd.control.shapes import Refusal, Route
from routerd.store import open_store
from routerd.testing.clock import FakeClock
from routerd.testing.context import RecordingLogger

ROOT = Path(__file__).parents[3]
ROUTES = [value for value in vars(api).values() if isinstance(value, Route)]
REFUSALS = [value for value in vars(api).values() if isinstance(value, Refusal)]


def described(*, token: bool = True) -> Document:
    return document(ROUTES, token=token)


class TestDocument:
    @pytest.mark.parametrize("token", [True, False])
    def test_it_is_valid(self, token: bool) -> None:
        # The rule is that this does not raise.
        openapi_spec_validator.validate(described(token=token))

    def test_every_route_that_is_served_is_in_it_and_no_other(self, fake_clock: FakeClock) -> None:
        door = AccessRules(allow=(), limit=RateLimit(clock=fake_clock))
        app = enrollment_app(FakeDesk(), door, clock=fake_clock, log=RecordingLogger())
        served = {(route.method, route.resource.canonical) for route in app.router.routes() if route.resource}
        paths = described()["paths"]
        assert served == {(method.upper(), path) for path in paths for method in paths[path]}
        assert len(served) == 5

    @pytest.mark.parametrize("refusal", REFUSALS, ids=lambda each: f"{each.status}-{each.reason}")
    def test_every_refusal_that_there_is_is_in_it(self, refusal: Refusal) -> None:
        answers = [
            operation["responses"].get(str(refusal.status))
            for path in described()["paths"].values()
            for operation in path.values()
        ]
        found = [answer for answer in answers if answer is not None]
        assert found
        assert any(refusal.what in answer["description"] for answer in found)
        for media in refusal.media:
            assert any(media in answer["content"] for answer in found)
        if refusal.reason and refusal.status != 400:
            assert any(refusal.reason in str(answer["content"]) for answer in found)

    def test_every_status_that_the_listener_gives_is_in_it(self) -> None:
        statuses = Counter(
            status
            for path in described()["paths"].values()
            for each in path.values()
            for status in each["responses"]
        )
        assert set(statuses) == {
            *("200", "400", "401", "403", "404", "405", "408", "413", "415", "429", "500", "503")
        }


@asynccontextmanager
async def reflector(directory: Path, log: RecordingLogger) -> AsyncIterator[str]:
    """Serve the real desk over a real store, without limits, and give the URL of its listener."""
    clock = world.QuickClock()
    store = open_store(directory / "state.db", clock=clock)
    desk = world.Reflector(directory / "state.db", clock, log=log).desk(store)
    limit = RateLimit(clock=clock, burst=10**9, total_burst=10**9)
    door = AccessRules(allow=world.LOOPBACK, limit=limit, token="t")
    listener = await serve_enrollment(
        enrollment_app(desk, door, clock=clock, log=log), address=IPv4Address("127.0.0.1"), port=0
    )
    try:
        yield f"http://127.0.0.1:{listener.addresses[0][1]}"
    finally:
        await listener.cleanup()
        await desk.aclose()
        store.close()


async def schemathesis(directory: Path, url: str, *options: str, hooks: str = "") -> int:
    """Run it to its end, the same each time; return how many requests there were."""
    description = directory / "openapi.json"
    description.write_text(json.dumps(described()))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = await asyncio.create_subprocess_exec(
        *(
            sys.executable,
            "-m",
            "schemathesis.cli",
            "run",
            str(description),
            "--url",
            url,
            "--header",
            "Authorization: Bearer t",
        ),
        *("--generation-deterministic", "--max-response-time", "5", "--warnings", "off", "--no-color"),
        *options,
        cwd=directory,
        env=environment | ({"SCHEMATHESIS_HOOKS": hooks} if hooks else {}),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(280):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    said = output.decode()
    assert process.returncode == 0, said
    return int(re.findall(r"(\d+) generated", said)[0])


@pytest.mark.live
class TestTruth:
    async def test_nothing_is_answered_that_is_not_described(self, tmp_path: Path) -> None:
        log = RecordingLogger()
        async with reflector(tmp_path, log) as url:
            # Whether a claim is admitted is the desk's to decide, so nothing generated must be accepted.
            checks = ("--checks", "all", "--exclude-checks", "positive_data_acceptance")
            assert await schemathesis(tmp_path, url, *checks, "--max-examples", "100") > 400
        assert not log.events("error")

    async def test_nor_where_claims_are_admitted_fetched_and_revoked(self, tmp_path: Path) -> None:
        log = RecordingLogger()
        async with reflector(tmp_path, log) as url:
            # Fields are replaced by anything, so what is sent may be admitted or not.
            checks = (
                "--checks",
                "all",
                "--exclude-checks",
                "positive_data_acceptance,negative_data_rejection",
            )
            options = ("--mode", "positive", "--phases", "fuzzing", "--max-examples", "150")
            hooks = "tests.unit.control.schemathesis_hooks"
            assert await schemathesis(tmp_path, url, *checks, *options, hooks=hooks) > 400
        events = Counter(entry.event for entry in log.entries)
        assert events["claim.admitted"] > 3, events
        assert events["claim.revoked"] > 0, events
        assert not log.events("error")


def test_an_ipv4_address_in_an_ipv6_one_is_that_address() -> None:
    assert address_of("::ffff:192.0.2.1") == IPv4Address("192.0.2.1")
    assert address_of("fe80::1%eth0") is not None
    assert address_of("no address") is None
