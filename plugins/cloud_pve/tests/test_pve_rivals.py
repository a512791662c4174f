"""Two routers, a guest that others change too, an API in trouble, in any order: nothing foreign is lost."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import Callable, Coroutine, Sequence
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from plugins.cloud_pve.tests.pve_world import GATEWAY, OTHER, TOKEN, Home, SteppingClock, key, options
from tests.support.guest_kernel import KernelRoute
from tests.support.loopback import Api, on_loopback

from routerd.errors import ProviderError
from routerd.model.change import Change
from routerd.model.fabric import FabricRoute
from routerd.testing.context import make_context
from routerd_cloud_pve.plugin import PveFabric
from routerd_lab.clouds.pve_guest import Ended
from routerd_lab.clouds.trouble import Kind, Trouble

pytestmark = pytest.mark.cloud

PREFIXES = [IPv4Network(f"10.64.0.{number}/32") for number in range(4)]
ROUTERS = (GATEWAY, OTHER)
prefixes = st.sampled_from(PREFIXES)
routers = st.sampled_from(ROUTERS)
KINDS = [Kind.THROTTLE, Kind.FAIL, Kind.FAIL_AFTER, Kind.CLOSE, Kind.LOSE]


class Rivals(RuleBasedStateMachine):
    """`foreign` are the routes that somebody else made, which must be there as long as he leaves them."""

    @initialize()
    def start(self) -> None:
        self.stack = contextlib.AsyncExitStack()
        self.runner = asyncio.Runner()
        self.directory = Path(self.stack.enter_context(tempfile.TemporaryDirectory()))
        (self.directory / "token").write_text(TOKEN + "\n")
        self.wrongs: list[str] = []
        self.foreign: dict[IPv4Network, KernelRoute] = {}
        self.meanwhile: Callable[[], None] = lambda: None
        self.commands = self.moment = 0
        self.acting: tuple[IPv4Address, bool] = (GATEWAY, False)
        self.fabrics = self.do(self.open())

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(work)

    async def open(self) -> dict[IPv4Address, PveFabric]:
        self.home = Home()
        self.run_in_guest = self.home.client.run
        self.home.client.run = self.watched  # type: ignore[method-assign] - to see what each batch does
        api = Api(app=self.home.host.app(), names=("pve.example",), port=8006)
        await self.stack.enter_async_context(on_loopback(self.directory, api))
        fabrics = {}
        for router in ROUTERS:
            given = attrs.evolve(options(self.directory, vmid=None), gateway=router)
            fabric = PveFabric(make_context(self.directory, clock=SteppingClock()), given)
            fabric.share(frozenset(map(str, set(ROUTERS) - {router})))
            await fabric.start()
            self.stack.push_async_callback(fabric.aclose)
            fabrics[router] = fabric
        return fabrics

    def teardown(self) -> None:
        self.do(self.stack.aclose())
        self.runner.close()

    # --- the guest ----------------------------------------------------------------------------------

    async def watched(self, command: Sequence[str], text: str) -> Ended:
        """Let others act before a command, and hold a batch to what its router may do."""
        self.commands += 1
        if self.commands == self.moment:
            self.meanwhile()
        if "-batch" not in command:
            return await self.run_in_guest(command, text)
        router, active = self.acting
        before = {route.prefix: route for route in self.home.client.routes}
        ended = await self.run_in_guest(command, text)
        after = {route.prefix: route for route in self.home.client.routes}
        for prefix, route in before.items():
            if route.protocol == 147 and route.gateway != router and after.get(prefix) != route:
                # An exception here would be one more answer of the API.
                taken = prefix in after and after[prefix].gateway == router
                self.wrongs += [] if active and taken else [f"{router} did {text!r} to {route}"]
        return ended

    def disturb(self, prefix: IPv4Network) -> None:
        """Make a foreign route, in the place of whatever is there, or take it away again."""
        client = self.home.client
        gone = self.foreign.pop(prefix, None)
        client.routes = [route for route in client.routes if route.prefix != prefix]
        if gone is None:
            self.home.place_foreign(prefix)
            made = client.find(prefix)
            assert made is not None
            self.foreign[prefix] = made

    def interfere(self, prefix: IPv4Network, rival: IPv4Address | None) -> None:
        if rival is None:
            self.disturb(prefix)
        elif prefix not in self.foreign:
            self.home.client.lead(prefix, rival)

    # --- what happens -------------------------------------------------------------------------------

    @rule(prefix=prefixes)
    def somebody_changes_a_route(self, prefix: IPv4Network) -> None:
        self.disturb(prefix)

    @rule()
    def the_guest_restarts(self) -> None:
        self.home.client.restart()
        self.foreign.clear()

    @rule(kind=st.sampled_from(KINDS), skip=st.integers(0, 6))
    def a_call_will_have_trouble(self, kind: Kind, skip: int) -> None:
        self.home.host.troubles.add(Trouble(kind=kind, skip=skip))

    @rule(
        router=routers,
        active=st.booleans(),
        wanted=st.sets(prefixes),
        moment=st.integers(1, 3),
        between=st.none() | st.tuples(prefixes, st.none() | routers),
    )
    def a_router_makes_a_pass(
        self,
        router: IPv4Address,
        active: bool,
        wanted: set[IPv4Network],
        moment: int,
        between: tuple[IPv4Network, IPv4Address | None] | None,
    ) -> None:
        """Somebody, or the rival, may be at a route before it is observed, read again or written."""
        if between is not None:
            self.meanwhile = lambda: self.interfere(*between)
        self.commands, self.moment = 0, moment
        self.do(self.act(router, active, wanted))
        self.meanwhile = lambda: None

    async def act(self, router: IPv4Address, active: bool, wanted: set[IPv4Network]) -> bool:
        """Do as the loop does; return whether all is as wanted but for what is foreseen to be refused."""
        self.acting = router, active
        fabric, ours = self.fabrics[router], FabricRoute(next_hop=str(router))
        try:
            present = await fabric.routes.observe()
            changes = [
                Change(key=key(prefix), before=present.get(key(prefix)), after=ours)
                for prefix in sorted(wanted)
                if present.get(key(prefix)) != ours and (active or key(prefix) not in present)
            ]
            changes += [
                Change(key=found, before=ours, after=None)
                for found, route in present.items()
                if route == ours and found.prefix not in wanted
            ]
            refused = fabric.routes.foresee(changes)
            return not await fabric.routes.apply([each for each in changes if each.key not in refused])
        except ProviderError:
            return False

    # --- what holds ---------------------------------------------------------------------------------

    @invariant()
    def foreign_routes_are_as_they_were_made(self) -> None:
        standing = {route.prefix: route for route in self.home.client.routes if route.protocol == 4}
        assert standing == self.foreign

    @invariant()
    def no_router_takes_from_another_but_by_a_takeover(self) -> None:
        assert self.wrongs == []

    @invariant()
    def no_prefix_has_two_routes(self) -> None:
        found = [route.prefix for route in self.home.client.routes]
        assert len(found) == len(set(found))

    @rule(router=routers, wanted=st.sets(prefixes, min_size=1))
    def when_all_is_calm_a_pass_or_two_make_it_right(
        self, router: IPv4Address, wanted: set[IPv4Network]
    ) -> None:
        self.home.host.troubles.clear()
        self.do(self.act(router, True, wanted))
        assert self.do(self.act(router, True, wanted))
        led = {
            each.prefix for each in self.home.client.routes if each.gateway == router and each.protocol == 147
        }
        assert led == wanted - self.foreign.keys()


# Under load a failure takes a while to be made small.
Rivals.TestCase.pytestmark = pytest.mark.timeout(300)
Rivals.TestCase.settings = settings(stateful_step_count=12, suppress_health_check=list(HealthCheck))
TestRivals = Rivals.TestCase
