"""The fakes pass the suites that the real providers pass."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path
from typing import Any

import attrs
import pytest

from routerd.errors import PermanentError
from routerd.model.fabric import FabricRoute, FabricRouteKey, Forwarding, NicRef, RouteTableRef
from routerd.model.names import LinkName, PublicKey
from routerd.model.session import Advertisement, ImportPolicy, Session, Speaker
from routerd.model.tunnel import PeerKey, Tunnel, WireGuardDevice, WireGuardPeer
from routerd.spi import (
    BgpRouting,
    EncryptingTransport,
    Fabric,
    JoinMethod,
    Link,
    PluginContext,
    Provider,
    Routing,
    TransportMode,
)
from routerd.testing.context import make_context
from routerd.testing.contracts import (
    BgpRoutingContract,
    EncryptingTransportContract,
    EnrollmentContract,
    Foreign,
    Neighbour,
    Samples,
    SharedFabricContract,
    SiteWorld,
    TableContract,
    TransportContract,
)
from routerd.testing.contracts.table import fill
from routerd.testing.fakes import (
    FakeNeighbour,
    FakeWorld,
    encrypting_provider,
    enrollment_provider,
    fabric_provider,
    routing_provider,
    transport_provider,
)
from routerd.testing.fakes.enrollment_keys import (
    FakeKey,
    FakeKeys,
    key_enrollment_provider,
    public_half,
)
from routerd.testing.kernel import FakeKernel
from routerd.testing.tables import FakeTable

AllSamples = Mapping[str, Samples[Any, Any]]


def foreign_link(context: PluginContext, name: LinkName, value: Tunnel) -> Foreign[LinkName, Tunnel]:
    async def place() -> None:
        assert isinstance(context.kernel, FakeKernel)
        context.kernel.place(Link(name=name, index=77, kind="ipip", up=True, mtu=1480))

    async def read() -> object:
        return (await context.kernel.links())[name]

    return Foreign(key=name, value=value, place=place, read=read)


def tunnel(name: str, mode: str = "ipip", wireguard: WireGuardDevice | None = None) -> Tunnel:
    return Tunnel(
        link=LinkName(name), mode=mode, owner="TunnelInterface/x", mtu=1400, local=IPv4Address("192.0.2.1"),
        remote=IPv4Address("192.0.2.2"), addresses=(IPv4Interface("10.255.0.0/31"),), wireguard=wireguard,
    )  # fmt: skip


class TestFakeTable(TableContract):
    @pytest.fixture
    def table(self) -> FakeTable[str, int]:
        return FakeTable(foreign={"taken": 9}, refusals={"bad": PermanentError("bad is refused by the test")})

    @pytest.fixture
    def samples(self, table: FakeTable[str, int]) -> Samples[str, int]:
        async def place() -> None:
            table.foreign["theirs"] = 8

        async def read() -> object:
            return dict(table.foreign)

        return Samples(
            values={"a": 1, "b": 2},
            replacement={"a": 3},
            refused={"bad": 4},
            foreign=Foreign(key="theirs", value=5, place=place, read=read),
        )


class TestFakeTransport(TransportContract):
    @pytest.fixture(params=["ipip", "gre"])
    def provider(self, request: pytest.FixtureRequest) -> TransportMode:
        return transport_provider(FakeWorld(), request.param)

    @pytest.fixture
    def samples(self, context: PluginContext, provider: TransportMode) -> AllSamples:
        one, two = tunnel("t1", provider.kind), tunnel("t2", provider.kind)
        long = tunnel("a-name-that-is-too-long", provider.kind)
        taken = tunnel("taken", provider.kind)
        return {
            "tunnels": Samples(
                values={one.link: one, two.link: two},
                replacement={one.link: attrs.evolve(one, mtu=1300)},
                refused={long.link: long},
                foreign=foreign_link(context, taken.link, taken),
            )
        }


@attrs.frozen
class Colour:
    """The options of a stranger's tunnels."""

    name: str = "red"


class TestFakeTransportOfAnyName(TransportContract):
    @pytest.fixture
    def context(self, tmp_path: Path) -> PluginContext:
        return make_context(tmp_path, kernel=FakeKernel(kinds=("odd",)))

    @pytest.fixture
    def provider(self) -> TransportMode:
        return transport_provider(FakeWorld(), "odd", Colour)

    @pytest.fixture
    def samples(self, context: PluginContext) -> AllSamples:
        names = ("t1", "t2", "a-name-that-is-too-long", "taken")
        one, two, long, taken = (attrs.evolve(tunnel(name, "odd"), options=Colour()) for name in names)
        return {
            "tunnels": Samples(
                values={one.link: one, two.link: two},
                replacement={one.link: attrs.evolve(one, options=Colour("blue"))},
                refused={long.link: long},
                foreign=foreign_link(context, taken.link, taken),
            )
        }


class TestFakeEncryptingTransport(EncryptingTransportContract):
    @pytest.fixture
    def provider(self) -> TransportMode:
        return encrypting_provider(FakeWorld())

    @pytest.fixture
    def samples(self, context: PluginContext) -> AllSamples:
        def device(name: str, port: int = 51820) -> Tunnel:
            keys = WireGuardDevice(public_key=PublicKey("A" * 44), listen_port=port)
            return attrs.evolve(tunnel(name, "wireguard", keys), local=None, remote=None, ttl=0)

        one, two, long, taken = (device(name) for name in ("wg1", "wg2", "a-name-that-is-too-long", "taken"))
        keys = [PeerKey(link=LinkName("wg1"), public_key=PublicKey(letter * 44)) for letter in "BC"]
        lost = PeerKey(link=LinkName("nowhere"), public_key=PublicKey("D" * 44))
        peer = WireGuardPeer(allowed_ips=frozenset({IPv4Network("10.255.0.2/32")}))

        async def with_device(made: EncryptingTransport) -> None:
            await fill(made.tunnels, {one.link: one})

        return {
            "tunnels": Samples(
                values={one.link: one, two.link: two},
                replacement={one.link: device("wg1", 51999)},
                refused={long.link: long},
                foreign=foreign_link(context, taken.link, taken),
            ),
            "peers": Samples(
                values=dict.fromkeys(keys, peer),
                replacement={keys[0]: attrs.evolve(peer, keepalive=25)},
                refused={lost: peer},
                prepare=with_device,
            ),
        }


class TestFakeRouting(BgpRoutingContract):
    @pytest.fixture
    def world(self) -> FakeWorld:
        return FakeWorld()

    @pytest.fixture
    def provider(self, world: FakeWorld) -> Provider[BgpRouting]:
        return routing_provider(world)

    @pytest.fixture
    def neighbour(self, world: FakeWorld) -> Neighbour:
        address, prefix = IPv4Address("10.0.0.9"), IPv4Network("10.77.60.19/32")

        async def speak(asn: int, router_id: IPv4Address) -> None:
            who = FakeNeighbour(asn=asn, router_id=router_id, prefixes=frozenset({prefix}))
            world.speak(address, who)

        session = Session(
            peer_asn=64512,
            peer_router_id=IPv4Address("10.0.0.99"),
            owner="BGPDynamicPeer/p",
            leaf="a",
            claim="SAMEnrollmentClaim/a",
        )
        return Neighbour(address=address, session=session, prefix=prefix, speak=speak)

    @pytest.fixture
    def samples(self) -> AllSamples:
        speaker = Speaker(asn=64512, router_id=IPv4Address("10.0.0.1"), owner="BGPRouter/r")
        one, two = IPv4Address("10.0.0.2"), IPv4Address("10.0.0.3")
        policy = ImportPolicy(hosts=frozenset({IPv4Network("10.77.60.11/32")}))
        session = Session(peer_asn=64512, owner="BGPPeer/p")
        first, second = IPv4Network("10.77.60.11/32"), IPv4Network("10.77.60.12/32")
        origin = Advertisement(owner="BGPRouter/r")

        async def with_speaker(made: Routing) -> None:
            await fill(made.speakers, {"r": speaker})

        return {
            "speakers": Samples(values={"r": speaker}, replacement={"r": attrs.evolve(speaker, port=1790)}),
            "import_policies": Samples(
                values={one: policy, two: ImportPolicy()}, replacement={two: policy}, prepare=with_speaker
            ),
            "sessions": Samples(
                values={one: session, two: session},
                replacement={two: attrs.evolve(session, passive=True)},
                prepare=with_speaker,
            ),
            "advertisements": Samples(
                values={first: origin, second: origin},
                replacement={first: attrs.evolve(origin, local_preference=200)},
                prepare=with_speaker,
            ),
        }


class TestFakeEnrollment(EnrollmentContract):
    @pytest.fixture
    def provider(self) -> JoinMethod:
        return enrollment_provider()


class TestFakeKeyEnrollment(EnrollmentContract):
    """Asymmetric and salted."""

    challenges = False

    @pytest.fixture
    def provider(self) -> JoinMethod:
        return key_enrollment_provider(challenges=self.challenges)

    @pytest.fixture
    def policy_options(self) -> FakeKeys:
        return FakeKeys(keys={"leaf-a": public_half("of leaf-a"), "leaf-b": public_half("of leaf-b")})

    @pytest.fixture
    def client_options(self) -> FakeKey:
        return FakeKey(seed="of leaf-a")

    @pytest.fixture
    def stranger_options(self) -> FakeKey:
        return FakeKey(seed="of leaf-b")


class TestFakeChallengedEnrollment(TestFakeKeyEnrollment):
    """The same with challenges."""

    challenges = True


class TestFakeFabric(SharedFabricContract):
    @pytest.fixture
    def world(self) -> FakeWorld:
        return FakeWorld()

    @pytest.fixture
    def provider(self, world: FakeWorld) -> Provider[Fabric]:
        return fabric_provider(world)

    @pytest.fixture
    def site(self, world: FakeWorld) -> SiteWorld:
        async def place(key: FabricRouteKey, next_hop: str | None) -> None:
            world.routes.settle(key, None if next_hop is None else FabricRoute(next_hop=next_hop))

        async def read(key: FabricRouteKey) -> str | None:
            found = world.routes.content.get(key) or world.routes.foreign.get(key)
            return found.next_hop if found is not None else None

        return SiteWorld(others=("nic-2", "nic-3"), stranger="nic-of-others", place=place, read=read)

    @pytest.fixture
    def samples(self, world: FakeWorld) -> AllSamples:
        table, nic = world.facts.route_tables[0], world.facts.nics[0].ref
        ours = FabricRoute(next_hop=world.facts.next_hop)
        keys = [FabricRouteKey(table=table, prefix=IPv4Network((f"10.77.60.{n}", 32))) for n in (11, 12, 13)]
        lost = FabricRouteKey(table=RouteTableRef("no-such-table"), prefix=IPv4Network("10.77.60.11/32"))

        async def place() -> None:
            world.routes.foreign[keys[2]] = FabricRoute(next_hop="nic-of-others")

        async def read() -> object:
            return dict(world.routes.foreign)

        return {
            "forwarding": Samples(
                values={nic: Forwarding(enabled=True)},
                replacement={nic: Forwarding(enabled=False)},
                refused={NicRef("no-such-nic"): Forwarding(enabled=True)},
            ),
            "routes": Samples(
                values=dict.fromkeys(keys[:2], ours),
                refused={lost: ours},
                foreign=Foreign(key=keys[2], value=ours, place=place, read=read),
            ),
        }
