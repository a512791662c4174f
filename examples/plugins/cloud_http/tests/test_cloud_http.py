"""The plugin keeps the contracts of a plugin and a fabric, against a server that others write to as well."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any, ClassVar

import pytest
from aiohttp import web
from routerd_cloud_http import plugin
from routerd_cloud_http.config import HttpOptions

from routerd.errors import NotOwnedError, PermanentError, StaleError, TransientError
from routerd.model.change import Change
from routerd.model.fabric import FabricRoute, FabricRouteKey, Forwarding, NicRef, RouteTableRef
from routerd.spi import Fabric, PluginContext, Provider
from routerd.testing.context import CountingPacing, as_read_only
from routerd.testing.contracts import (
    FabricContract,
    Foreign,
    PluginContract,
    Quota,
    QuotaRules,
    Samples,
    running,
)

LIMIT = 8
OURS = FabricRoute(next_hop="nic-1")
TOKEN = "open-sesame"


def key(prefix: str, table: str = "main") -> FabricRouteKey:
    return FabricRouteKey(table=RouteTableRef(table), prefix=IPv4Network(prefix))


ONE, TWO, FOREIGN = key("10.77.60.11/32"), key("10.77.60.12/32"), key("10.77.60.19/32")
CREATE = Change(key=ONE, before=None, after=OURS)


class Service:
    """The service: the document, its version, and what a test puts in the way."""

    def __init__(self) -> None:
        self.document: dict[str, Any] = {
            "nics": {"nic-1": {"address": "10.1.0.4", "forwarding": False}},
            "tables": {"main": {"10.77.60.19/32": "nic-of-others"}},
            "limit": LIMIT,
        }
        self.version = 1
        self.faults: list[web.Response] = []
        self.writes = 0
        self.others_write = 0
        self.url = ""

    @property
    def main(self) -> dict[str, str]:
        found: dict[str, str] = self.document["tables"]["main"]
        return found

    def edit(self, **routes: str) -> None:
        """Write as somebody else does."""
        self.main.update(routes)
        self.version += 1

    async def get(self, request: web.Request) -> web.Response:
        if (fault := self._fault(request)) is not None:
            return fault
        answer = web.json_response(self.document, headers={"ETag": f'"{self.version}"'})
        if self.others_write:
            self.others_write -= 1
            self.edit(**{f"10.99.0.{self.version}/32": "nic-of-others"})
        return answer

    async def put(self, request: web.Request) -> web.Response:
        if (fault := self._fault(request)) is not None:
            return fault
        if request.headers["If-Match"] != f'"{self.version}"':
            return web.Response(status=412)
        self.document = await request.json()
        self.version += 1
        self.writes += 1
        return web.Response(status=204)

    def _fault(self, request: web.Request) -> web.Response | None:
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return web.Response(status=401)
        return self.faults.pop(0) if self.faults else None


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    made, app = Service(), web.Application()
    app.add_routes([web.get("/site", made.get), web.put("/site", made.put)])
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}/site"
    yield made
    await runner.cleanup()


@pytest.fixture
def options(service: Service, tmp_path: Path) -> HttpOptions:
    (tmp_path / "token").write_text(TOKEN + "\n")
    return HttpOptions(url=service.url, next_hop="nic-1", token_file=tmp_path / "token")


@pytest.fixture
def provider() -> Provider[Fabric]:
    return plugin.routerd_fabrics()[0]


class TestPlugin(PluginContract):
    name: ClassVar[str] = "cloud_http"


class TestFabric(QuotaRules, FabricContract):
    @pytest.fixture
    def provider(self) -> Provider[Fabric]:
        return plugin.routerd_fabrics()[0]

    @pytest.fixture
    def options(self, options: HttpOptions) -> HttpOptions:
        return options

    @pytest.fixture
    def quota(self, service: Service) -> Quota:
        async def leave(room: int) -> None:
            service.edit(
                **{f"10.99.1.{n}/32": "nic-of-others" for n in range(LIMIT - room - len(service.main))}
            )

        return Quota(limit=LIMIT, leave=leave)

    @pytest.fixture
    def samples(self, service: Service) -> Mapping[str, Samples[Any, Any]]:
        async def place() -> None:
            assert service.main[str(FOREIGN.prefix)] == "nic-of-others"  # from the start

        async def read() -> object:
            return service.main.get(str(FOREIGN.prefix))

        return {
            "forwarding": Samples(
                values={NicRef("nic-1"): Forwarding(enabled=True)},
                replacement={NicRef("nic-1"): Forwarding(enabled=False)},
                refused={NicRef("nic-9"): Forwarding(enabled=True)},
            ),
            "routes": Samples(
                values={ONE: OURS, TWO: OURS},
                refused={key("10.77.60.13/32", table="no-such-table"): OURS},
                foreign=Foreign(key=FOREIGN, value=OURS, place=place, read=read),
            ),
        }


@pytest.fixture
async def fabric(
    provider: Provider[Fabric], plugin_context: PluginContext, options: HttpOptions
) -> AsyncIterator[Fabric]:
    async with running(provider, plugin_context, options) as made:
        yield made


async def test_what_others_write_in_between_survives(fabric: Fabric, service: Service) -> None:
    service.others_write = 2
    assert await fabric.routes.apply([CREATE]) == {}
    assert service.main[str(ONE.prefix)] == "nic-1"
    assert len([hop for hop in service.main.values() if hop == "nic-of-others"]) == 3


async def test_a_document_that_never_rests_is_stale(fabric: Fabric, service: Service) -> None:
    service.others_write = 3
    failures = await fabric.routes.apply([CREATE])
    assert isinstance(failures[ONE], StaleError)
    assert service.writes == 0


async def test_a_foreign_route_costs_no_other(fabric: Fabric, service: Service) -> None:
    failures = await fabric.routes.apply([CREATE, Change(key=FOREIGN, before=None, after=OURS)])
    assert set(failures) == {FOREIGN}
    assert isinstance(failures[FOREIGN], NotOwnedError)
    assert "leads to nic-of-others" in str(failures[FOREIGN])
    assert service.main == {"10.77.60.19/32": "nic-of-others", "10.77.60.11/32": "nic-1"}


async def test_without_a_condition_nothing_is_written(fabric: Fabric, service: Service) -> None:
    service.faults = [web.json_response(service.document)]
    failures = await fabric.routes.apply([CREATE])
    assert isinstance(failures[ONE], PermanentError)
    assert "has no ETag" in str(failures[ONE])
    assert service.writes == 0


async def test_too_many_requests_hold_all_of_them(
    fabric: Fabric, service: Service, plugin_context: PluginContext
) -> None:
    service.faults = [web.Response(status=429, headers={"Retry-After": "7"})]
    failure = (await fabric.routes.apply([CREATE]))[ONE]
    assert isinstance(failure, TransientError)
    assert failure.retry_after == timedelta(seconds=7)
    assert isinstance(plugin_context.pacing, CountingPacing)
    assert plugin_context.pacing.pacers[service.url].holds == [7.0]


@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [
        (500, TransientError, "500 Internal Server Error"),
        (503, TransientError, "503"),
        (403, PermanentError, "let the token write the document"),
        (404, PermanentError, "check url"),
        (302, PermanentError, "ask whoever runs the service"),
    ],
)
async def test_each_fault_says_what_helps(
    fabric: Fabric, service: Service, status: int, kind: type[Exception], words: str
) -> None:
    service.faults = [web.Response(status=status)]
    with pytest.raises(kind, match=words):
        await fabric.routes.observe()


@pytest.mark.parametrize(
    "body", ["not json", "{}", '{"nics": [], "tables": {}}', '{"nics": {"a": 1}, "tables": {}}']
)
async def test_what_is_not_a_document_changes_nothing(fabric: Fabric, service: Service, body: str) -> None:
    service.faults = [web.Response(text=body)]
    with pytest.raises(TransientError):
        await fabric.routes.observe()


async def test_a_wrong_token_and_a_missing_one_are_named(
    provider: Provider[Fabric], plugin_context: PluginContext, options: HttpOptions
) -> None:
    assert options.token_file is not None
    options.token_file.write_text("wrong")
    with pytest.raises(PermanentError, match="401 Unauthorized; check tokenFile"):
        async with running(provider, plugin_context, options):
            pass
    options.token_file.unlink()
    with pytest.raises(PermanentError, match="write it, or drop tokenFile"):
        async with running(provider, plugin_context, options):
            pass


async def test_a_service_that_is_not_there_is_tried_again(
    provider: Provider[Fabric], plugin_context: PluginContext
) -> None:
    options = HttpOptions(url="http://127.0.0.1:1/site", next_hop="nic-1")
    with pytest.raises(TransientError, match=r"GET http://127\.0\.0\.1:1/site: "):
        async with running(provider, plugin_context, options):
            pass


async def test_a_dry_run_sends_no_write(
    provider: Provider[Fabric], plugin_context: PluginContext, options: HttpOptions, service: Service
) -> None:
    async with running(provider, as_read_only(plugin_context), options) as made:
        failures = await made.routes.apply([CREATE])
    assert isinstance(failures[ONE], PermanentError)
    assert service.writes == 0


async def test_changes_of_one_pass_are_one_write(fabric: Fabric, service: Service) -> None:
    changes = [Change(key=each, before=None, after=OURS) for each in (ONE, TWO)]
    assert await fabric.routes.apply(changes) == {}
    assert await fabric.routes.apply(changes) == {}
    assert service.writes == 1
    assert json.dumps(service.document).count("nic-1") == 3


@pytest.mark.parametrize("url", ["ftp://host/x", "/site", "http://"])
def test_what_is_not_an_address_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="not an http"):
        HttpOptions(url=url, next_hop="nic-1")
