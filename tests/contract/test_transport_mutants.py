"""The suites of transports are sharp: for each rule, a transport that breaks it is caught by that rule."""

from __future__ import annotations

import asyncio
import base64
import inspect
from collections.abc import Callable, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path
from typing import Any

import attrs
import pytest

from routerd.errors import ProviderError, TransientError
from routerd.model.change import Change
from routerd.model.names import LinkName, PublicKey
from routerd.model.tunnel import (
    Opening,
    PeerKey,
    PeerState,
    Tunnel,
    TunnelState,
    UdpEncapsulation,
    WireGuardDevice,
    WireGuardPeer,
)
from routerd.spi import Capability, PluginContext, TransportMode, only_ipv4
from routerd.testing.context import make_context
from routerd.testing.contracts import EncryptingTransportContract, Samples, TransportContract, running
from routerd.testing.contracts.table import fill
from routerd.testing.fakes import FakeEncryptingTransport, FakeTransport, FakeWorld, TunnelTable
from routerd.testing.kernel import FakeKernel

Maker = Callable[[FakeWorld, PluginContext], Any]


@attrs.frozen
class Colour:
    """The options of the tunnels of mode `odd`."""

    name: str = "red"


@attrs.define
class Loose:
    """Options that can be changed."""

    name: str = "red"


PLAIN = TransportMode(kind="odd", create=lambda *_: None, tunnel=Colour)  # type: ignore[arg-type,return-value]
WITH_PORTS = attrs.evolve(PLAIN, kind="fou", encapsulation="required")
ENCRYPTING = TransportMode(
    kind="wireguard",
    create=lambda *_: None,  # type: ignore[arg-type,return-value]
    capabilities=frozenset({Capability.ENCRYPTS}),
)


def device(name: str) -> Tunnel:
    return Tunnel(
        link=LinkName(name), mode="wireguard", owner="WireGuardInterface/x", mtu=1420, ttl=0,
        addresses=(IPv4Interface("10.255.0.0/31"),),
        wireguard=WireGuardDevice(public_key=PublicKey("A" * 44), listen_port=51820),
    )  # fmt: skip


def tunnel(mode: TransportMode, name: str) -> Tunnel:
    return Tunnel(
        link=LinkName(name), mode=mode.kind, owner="TunnelInterface/x", mtu=1400,
        local=IPv4Address("192.0.2.1"), remote=IPv4Address("192.0.2.2"),
        addresses=(IPv4Interface("10.255.0.0/31"),), options=Colour(),
        encapsulation=UdpEncapsulation(sport=5555, dport=5555) if mode.encapsulation == "required" else None,
    )  # fmt: skip


def samples(mode: TransportMode, change: Mapping[str, Any]) -> Mapping[str, Samples[Any, Any]]:
    """Return the samples of an author; `change` are the mistakes in one of them."""
    if Capability.ENCRYPTS in mode.capabilities:
        one, two = device("t1"), device("t2")
        key = PeerKey(link=one.link, public_key=PublicKey("B" * 44))
        peer = WireGuardPeer(allowed_ips=frozenset({IPv4Network("10.255.0.2/32")}))

        async def with_device(made: Any) -> None:
            await fill(made.tunnels, {one.link: one})

        peers = {"peers": Samples(values={key: peer}, prepare=with_device)}
    else:
        one, two, peers = tunnel(mode, "t1"), tunnel(mode, "t2"), {}
    blue = attrs.evolve(one, options=Colour("blue") if one.options is not None else None)
    replacement = {} if change.get("replacement") == "none" else {one.link: blue}
    one = attrs.evolve(one, **{name: value for name, value in change.items() if name != "replacement"})
    return {"tunnels": Samples(values={one.link: one, two.link: two}, replacement=replacement), **peers}


def rules(mode: TransportMode) -> Mapping[str, Any]:
    """Return the rules of the suite that such a transport has, by name."""
    encrypts = Capability.ENCRYPTS in mode.capabilities
    classes = (TransportContract, EncryptingTransportContract) if encrypts else (TransportContract,)
    suite = classes[-1]()
    return {name: getattr(suite, name) for each in classes for name in vars(each) if _is_rule(name)}


def _is_rule(name: str) -> bool:
    return name.startswith("test_")


async def broken(mode: TransportMode, make: Maker, root: Path, change: Mapping[str, Any]) -> set[str]:
    """Return the names of the rules that a transport breaks."""
    found = set()
    for number, (name, rule) in enumerate(rules(mode).items()):
        world, place = FakeWorld(), root / str(number)
        place.mkdir()
        context = make_context(place, kernel=FakeKernel(kinds=("ipip", "odd", "wireguard")))
        described = attrs.evolve(mode, create=lambda context, _, world=world: make(world, context))
        try:
            async with running(described, context, described.options()) as started:
                values = {
                    "provider": described,
                    "started": started,
                    "samples": samples(mode, change),
                    "context": context,
                    "options": described.options(),
                }
                done = rule(**{each: values[each] for each in inspect.signature(rule).parameters})
                if inspect.isawaitable(done):
                    await done
        except asyncio.CancelledError:
            raise
        except BaseException:  # noqa: BLE001 - pytest's failures are not exceptions to others
            found.add(name.removeprefix("test_"))
    return found


def proper(mode: TransportMode) -> Maker:
    def make(world: FakeWorld, context: PluginContext) -> Any:
        kind = FakeEncryptingTransport if Capability.ENCRYPTS in mode.capabilities else FakeTransport
        return kind(mode.kind, world, context)

    return make


class _Plain(FakeTransport):
    def __init__(self, world: FakeWorld, context: PluginContext) -> None:
        super().__init__("odd", world, context)


class _Tiny(_Plain):
    def overhead(self, tunnel: Tunnel) -> int:
        return 8


class _Huge(_Plain):
    def overhead(self, tunnel: Tunnel) -> int:
        return 400


class _Text(_Plain):
    def overhead(self, tunnel: Tunnel) -> Any:
        return 20.5


class _OfMtu(_Plain):
    def overhead(self, tunnel: Tunnel) -> int:
        return 20 if tunnel.mtu else 24


class _Counting(_Plain):
    _asked = 0

    def overhead(self, tunnel: Tunnel) -> int:
        self._asked += 1
        return 20 + self._asked


class _AfterStart(_Plain):
    _started = False

    async def start(self) -> None:
        self._started = True

    def openings(self, tunnel: Tunnel) -> Sequence[Opening]:
        return [Opening(protocol="4")] if self._started else []


class _Deaf(_Plain):
    def openings(self, tunnel: Tunnel) -> Sequence[Opening]:
        return []


class _Everything(_Plain):
    def openings(self, tunnel: Tunnel) -> Sequence[Opening]:
        return [Opening(protocol="")]


class _EveryPort(_Plain):
    def openings(self, tunnel: Tunnel) -> Sequence[Opening]:
        return [Opening(protocol="udp")]


class _Twice(_Plain):
    def openings(self, tunnel: Tunnel) -> Sequence[Opening]:
        return [Opening(protocol="4"), Opening(protocol="4")]


class _FixedPort(FakeTransport):
    def __init__(self, world: FakeWorld, context: PluginContext) -> None:
        super().__init__("fou", world, context)

    def openings(self, tunnel: Tunnel) -> Sequence[Opening]:
        return [Opening(protocol="udp", port=5555)]


class _Forgetful(_Plain):
    """Ignores the options and reports their defaults."""

    def __init__(self, world: FakeWorld, context: PluginContext) -> None:
        super().__init__(world, context)

        class Table(TunnelTable):
            async def observe(self) -> Mapping[LinkName, Tunnel]:
                seen = await super().observe()
                return {link: attrs.evolve(each, options=Colour()) for link, each in seen.items()}

        self._tunnels = Table("odd", context.kernel, world)


class _BehindOne(_Plain):
    """Fails every tunnel behind one with IPv6."""

    def __init__(self, world: FakeWorld, context: PluginContext) -> None:
        super().__init__(world, context)

        class Table(TunnelTable):
            async def apply(
                self, changes: Sequence[Change[LinkName, Tunnel]]
            ) -> Mapping[LinkName, ProviderError]:
                changed = only_ipv4(changes, str)
                if changed[1]:
                    error = next(iter(changed[1].values()))
                    return {change.key: error for change in changes}
                return await super().apply(changes)

        self._tunnels = Table("odd", context.kernel, world)


class _Refusing(_Plain):
    """Says that a retry helps a tunnel with IPv6."""

    def __init__(self, world: FakeWorld, context: PluginContext) -> None:
        super().__init__(world, context)

        class Table(TunnelTable):
            async def apply(
                self, changes: Sequence[Change[LinkName, Tunnel]]
            ) -> Mapping[LinkName, ProviderError]:
                good, failures = only_ipv4(changes, str)
                return dict.fromkeys(failures, TransientError("later")) | await super().apply(good)

        self._tunnels = Table("odd", context.kernel, world)


class _Silent(_Plain):
    async def states(self) -> Sequence[TunnelState]:
        return (await super().states())[:1]


class _Nameless(_Plain):
    async def states(self) -> Sequence[TunnelState]:
        return [attrs.evolve(each, backend="") for each in await super().states()]


class _Encrypting(FakeEncryptingTransport):
    def __init__(self, world: FakeWorld, context: PluginContext) -> None:
        super().__init__("wireguard", world, context)


class _FixedDevice(_Encrypting):
    def openings(self, tunnel: Tunnel) -> Sequence[Opening]:
        return [Opening(protocol="udp", port=51820)]


class _OpenAnyway(_Encrypting):
    def openings(self, tunnel: Tunnel) -> Sequence[Opening]:
        return super().openings(tunnel) or [Opening(protocol="udp", port=51820)]


class _NoPeers(_Encrypting):
    async def peer_states(self) -> Sequence[PeerState]:
        return []


class _Large(_Encrypting):
    async def public_key(self, private_key_file: Path) -> PublicKey:
        await super().public_key(private_key_file)
        return PublicKey(base64.b64encode(bytes(1184)).decode())


class _Rewriting(_Encrypting):
    async def public_key(self, private_key_file: Path) -> PublicKey:
        key = await super().public_key(private_key_file)
        private_key_file.write_text(private_key_file.read_text() + "again\n")
        return key


class _Readable(_Encrypting):
    async def public_key(self, private_key_file: Path) -> PublicKey:
        key = await super().public_key(private_key_file)
        private_key_file.chmod(0o644)
        return key


class _WetRun(_Encrypting):
    async def public_key(self, private_key_file: Path) -> PublicKey:
        private_key_file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        private_key_file.touch(mode=0o600)
        return await super().public_key(private_key_file)


_NOTHING: Mapping[str, Any] = {}

MUTANTS: tuple[tuple[TransportMode, Maker, Mapping[str, Any], str], ...] = (
    (attrs.evolve(PLAIN, kind="none"), proper(PLAIN), _NOTHING, "the_mode_is_described"),
    (attrs.evolve(PLAIN, tunnel=int), proper(PLAIN), _NOTHING, "the_mode_is_described"),
    (attrs.evolve(PLAIN, tunnel=Loose), proper(PLAIN), _NOTHING, "the_mode_is_described"),
    (attrs.evolve(PLAIN, key="sometimes"), proper(PLAIN), _NOTHING, "the_mode_is_described"),  # type: ignore[arg-type]
    (PLAIN, proper(PLAIN), {"mode": "even"}, "sample_tunnels_are_of_the_providers_mode"),
    (PLAIN, proper(PLAIN), {"key": 7}, "sample_tunnels_are_of_the_providers_mode"),
    (PLAIN, proper(PLAIN), {"options": None}, "sample_tunnels_are_of_the_providers_mode"),
    (WITH_PORTS, proper(WITH_PORTS), {"encapsulation": None}, "sample_tunnels_are_of_the_providers_mode"),
    (ENCRYPTING, proper(ENCRYPTING), {"options": Colour()}, "sample_tunnels_are_of_the_providers_mode"),
    (PLAIN, _Tiny, _NOTHING, "the_overhead_is_that_of_a_packet"),
    (PLAIN, _Huge, _NOTHING, "the_overhead_is_that_of_a_packet"),
    (PLAIN, _Text, _NOTHING, "the_overhead_is_that_of_a_packet"),
    (PLAIN, _OfMtu, _NOTHING, "the_answers_about_a_tunnel_are_pure"),
    (PLAIN, _Counting, _NOTHING, "the_answers_about_a_tunnel_are_pure"),
    (PLAIN, _AfterStart, _NOTHING, "the_answers_about_a_tunnel_are_pure"),
    (PLAIN, _Deaf, _NOTHING, "the_openings_are_narrow"),
    (PLAIN, _Everything, _NOTHING, "the_openings_are_narrow"),
    (PLAIN, _EveryPort, _NOTHING, "the_openings_are_narrow"),
    (PLAIN, _Twice, _NOTHING, "the_openings_are_narrow"),
    (WITH_PORTS, _FixedPort, _NOTHING, "the_openings_follow_the_port"),
    (ENCRYPTING, _FixedDevice, _NOTHING, "the_openings_follow_the_port"),
    (ENCRYPTING, _OpenAnyway, _NOTHING, "the_openings_follow_the_port"),
    (PLAIN, _Forgetful, _NOTHING, "options_are_those_of_the_device"),
    (PLAIN, proper(PLAIN), {"replacement": "none"}, "options_are_those_of_the_device"),
    (PLAIN, _BehindOne, _NOTHING, "an_ipv6_tunnel_costs_no_other"),
    (PLAIN, _Refusing, _NOTHING, "an_ipv6_tunnel_costs_no_other"),
    (PLAIN, _Silent, _NOTHING, "the_states_name_every_tunnel_and_its_backend"),
    (PLAIN, _Nameless, _NOTHING, "the_states_name_every_tunnel_and_its_backend"),
    (ENCRYPTING, _NoPeers, _NOTHING, "peer_states_name_every_peer"),
    (ENCRYPTING, _Large, _NOTHING, "a_missing_key_is_made_once_and_kept_private"),
    (ENCRYPTING, _Rewriting, _NOTHING, "a_missing_key_is_made_once_and_kept_private"),
    (ENCRYPTING, _Readable, _NOTHING, "a_missing_key_is_made_once_and_kept_private"),
    (ENCRYPTING, _WetRun, _NOTHING, "a_dry_run_makes_no_key"),
)


def _id(mutant: tuple[TransportMode, Maker, Mapping[str, Any], str]) -> str:
    mode, make, change, rule = mutant
    return f"{getattr(make, '__name__', mode.kind)}-{'-'.join(change)}-{rule}"


@pytest.mark.parametrize(("mode", "make", "change", "rule"), MUTANTS, ids=map(_id, MUTANTS))
async def test_a_transport_that_breaks_a_rule_is_caught_by_it(
    mode: TransportMode, make: Maker, change: Mapping[str, Any], rule: str, tmp_path: Path
) -> None:
    assert rule in await broken(mode, make, tmp_path, change)


@pytest.mark.parametrize("mode", [PLAIN, WITH_PORTS, ENCRYPTING], ids=lambda mode: mode.kind)
async def test_a_proper_transport_breaks_none(mode: TransportMode, tmp_path: Path) -> None:
    assert await broken(mode, proper(mode), tmp_path, _NOTHING) == set()


def test_every_rule_catches_somebody() -> None:
    assert {f"test_{rule}" for *_, rule in MUTANTS} == set(rules(ENCRYPTING))
