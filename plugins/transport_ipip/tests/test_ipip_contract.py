"""The plugin keeps the contract of a plugin, and its kernel backend that of a transport."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path
from typing import Any, ClassVar

import attrs
import pytest

from routerd.errors import NotOwnedError, PermanentError, PluginError, TransientError, UnsupportedError
from routerd.model.change import Change
from routerd.model.names import LinkName
from routerd.model.tunnel import Tunnel, UdpEncapsulation
from routerd.spi import Capability, Link, PluginContext, Provider, Transport
from routerd.testing.context import make_context
from routerd.testing.contracts import Foreign, PluginContract, Samples, TransportContract
from routerd.testing.faults import FaultPlan, every_fault
from routerd.testing.kernel import FakeKernel
from routerd_transport_ipip import plugin
from routerd_transport_ipip.config import IpipOptions
from routerd_transport_ipip.fou import FouListeners
from routerd_transport_ipip.transport import IpipTransport

ANY_NAME = "t" * 16
"""One byte longer than a device's name may be."""


class FakeFou:
    """Implements `FouPort`. Other programs hold `foreign` ports; without `allowed` it only reads."""

    def __init__(self, *, supported: bool = True, allowed: bool = True) -> None:
        self.supported = supported
        self.allowed = allowed
        self.ports: dict[int, int] = {}
        self.foreign: set[int] = set()

    async def listeners(self) -> Mapping[int, int]:
        if not self.supported:
            raise UnsupportedError("this kernel has no foo-over-UDP")
        return dict(self.ports)

    async def add(self, port: int) -> None:
        if port in self.foreign:
            raise TransientError(f"add fou listener on UDP port {port}: address already in use")
        self.ports.setdefault(port, 4)

    async def remove(self, port: int) -> None:
        if not self.allowed:
            raise PermanentError(f"remove fou listener on UDP port {port}: operation not permitted")
        self.ports.pop(port, None)


def provider_of(mode: str, fou: FakeFou) -> Provider[Transport]:
    """The plugin's own provider, on a kernel whose listeners are in memory."""
    described = next(each for each in plugin.routerd_transports() if each.kind == mode)

    def create(context: PluginContext, options: object) -> Transport:
        described.make(context, options)
        assert isinstance(options, IpipOptions)
        return IpipTransport(mode, context, options, fou)

    return attrs.evolve(described, create=create)


def value(mode: str, number: int, **changes: object) -> Tunnel:
    made = Tunnel(
        link=LinkName(f"t{number}"),
        mode=mode,
        owner=f"TunnelInterface/t{number}",
        mtu=1400,
        addresses=(IPv4Interface(f"10.255.{number}.1/30"),),
        local=IPv4Address("192.0.2.1"),
        remote=IPv4Address(f"192.0.2.{10 + number}"),
        key=number if mode == "gre" and number > 1 else None,
        encapsulation=UdpEncapsulation(sport=5000 + number, dport=6000) if mode == "fou" else None,
    )
    return attrs.evolve(made, **changes)


def create(after: Tunnel) -> Change[LinkName, Tunnel]:
    return Change(key=after.link, before=None, after=after)


class TestPlugin(PluginContract):
    name: ClassVar[str] = "transport_ipip"


class TestKernelIpip(TransportContract):
    mode: ClassVar[str] = "ipip"

    @pytest.fixture
    def kernel(self) -> FakeKernel:
        return FakeKernel()

    @pytest.fixture
    def context(self, tmp_path: Path, kernel: FakeKernel) -> PluginContext:
        return make_context(tmp_path, kernel=kernel)

    @pytest.fixture
    def provider(self) -> Provider[Transport]:
        return provider_of(self.mode, FakeFou())

    @pytest.fixture
    def options(self) -> IpipOptions:
        return IpipOptions(backend="kernel")

    @pytest.fixture
    def samples(self, kernel: FakeKernel) -> Mapping[str, Samples[Any, Any]]:
        one = partial(value, self.mode)
        kind = "gre" if self.mode == "gre" else "ipip"
        foreign = Link(name=LinkName("t0"), index=90, kind=kind, up=True, mtu=1480, alias="of others")

        async def place() -> None:
            kernel.place(foreign)

        async def read() -> object:
            return (await kernel.links()).get(LinkName("t0"))

        return {
            "tunnels": Samples(
                values={each.link: each for each in (one(1), one(2), one(3))},
                replacement={
                    LinkName("t1"): one(1, mtu=1300, addresses=(IPv4Interface("10.255.9.1/30"),)),
                    LinkName("t2"): one(2, remote=IPv4Address("192.0.2.99"), ttl=5),
                }
                | ({LinkName("t3"): one(3, key=0)} if self.mode == "gre" else {}),
                refused={LinkName(ANY_NAME): one(9, link=LinkName(ANY_NAME))},
                foreign=Foreign(key=LinkName("t0"), value=one(0), place=place, read=read),
            )
        }


class TestKernelFou(TestKernelIpip):
    mode: ClassVar[str] = "fou"


class TestKernelGre(TestKernelIpip):
    mode: ClassVar[str] = "gre"


@pytest.fixture
def kernel() -> FakeKernel:
    return FakeKernel()


@pytest.fixture
def context(tmp_path: Path, kernel: FakeKernel) -> PluginContext:
    return make_context(tmp_path, kernel=kernel)


def make(
    mode: str, context: PluginContext, fou: FakeFou | None = None, options: IpipOptions | None = None
) -> IpipTransport:
    return IpipTransport(mode, context, options or IpipOptions(), fou or FakeFou())


@pytest.mark.parametrize(
    ("mode", "changes", "overhead"),
    [("ipip", {}, 20), ("fou", {}, 28), ("gre", {}, 24), ("gre", {"key": 0}, 28)],
)
def test_each_mode_is_described_with_its_overhead(
    mode: str, changes: dict[str, object], overhead: int, context: PluginContext
) -> None:
    (described,) = [each for each in plugin.routerd_transports() if each.kind == mode]
    assert described.capabilities == {Capability.USERSPACE}
    assert described.make(context, IpipOptions()).overhead(value(mode, 1, **changes)) == overhead


def test_options_of_another_class_are_named(context: PluginContext) -> None:
    with pytest.raises(PluginError, match="IpipOptions"):
        plugin.routerd_transports()[0].make(context, object())


async def test_with_its_module_the_kernel_makes_the_tunnel(context: PluginContext) -> None:
    made = make("ipip", context)
    assert await made.tunnels.apply([create(value("ipip", 1))]) == {}
    (state,) = await made.states()
    assert (state.backend, state.note) == ("kernel", "")
    assert not list(context.run_dir.iterdir())


async def test_a_device_that_is_down_differs_and_is_raised(
    context: PluginContext, kernel: FakeKernel
) -> None:
    made = make("ipip", context)
    wanted = value("ipip", 1)
    assert await made.tunnels.apply([create(wanted)]) == {}
    link = LinkName("t1")
    kernel.place(attrs.evolve((await kernel.links())[link], up=False))
    observed = (await made.tunnels.observe())[link]
    assert observed != wanted
    change = Change(key=link, before=observed, after=wanted)
    assert await made.tunnels.apply([change]) == {}
    assert (await kernel.links())[link].up
    assert (await made.tunnels.observe())[link] == wanted


async def test_with_backend_kernel_the_error_names_the_missing_module(tmp_path: Path) -> None:
    context = make_context(tmp_path, kernel=FakeKernel(kinds=["tun"]))
    made = make("ipip", context, options=IpipOptions(backend="kernel"))
    failures = await made.tunnels.apply([create(value("ipip", 1)), create(value("ipip", 2))])
    assert {type(each) for each in failures.values()} == {UnsupportedError}
    assert "tunnel t1: this kernel makes no ipip tunnels" in str(failures[LinkName("t1")])
    assert "load the module ipip, or use `backend: auto`" in str(failures[LinkName("t1")])


async def test_without_foo_over_udp_the_error_names_the_module(context: PluginContext) -> None:
    made = make("fou", context, FakeFou(supported=False), IpipOptions(backend="kernel"))
    failures = await made.tunnels.apply([create(value("fou", 1))])
    assert "load the module fou" in str(failures[LinkName("t1")])


async def test_a_kernel_that_refuses_foo_over_udp_counts_as_one_without(
    context: PluginContext,
) -> None:
    fou = FakeFou(allowed=False)
    assert not await FouListeners(context.state_dir, fou).supported()
    made = make("fou", context, fou, IpipOptions(backend="kernel"))
    failures = await made.tunnels.apply([create(value("fou", 1))])
    assert isinstance(failures[LinkName("t1")], UnsupportedError)


@pytest.mark.parametrize(
    ("mode", "changes", "text"),
    [
        ("ipip", {"local": None}, "tunnel t1: local and remote address are both needed"),
        ("ipip", {"encapsulation": UdpEncapsulation(sport=1, dport=2)}, "tunnel t1: ipip has no UDP ports"),
        ("ipip", {"key": 7}, "tunnel t1: ipip has no key"),
        ("fou", {"encapsulation": None}, "tunnel t1: fou needs UDP ports"),
        ("fou", {"key": 7}, "tunnel t1: fou has no key; remove it, or use mode gre"),
        ("gre", {"encapsulation": UdpEncapsulation(sport=1, dport=2)}, "tunnel t1: gre has no UDP ports"),
        ("gre", {"key": -1}, "tunnel t1: key -1 is not between 0 and 4294967295"),
        ("gre", {"key": 1 << 32}, "tunnel t1: key 4294967296 is not between 0 and 4294967295"),
    ],
)
async def test_an_impossible_tunnel_is_refused_with_its_fault(
    mode: str, changes: dict[str, object], text: str, context: PluginContext, kernel: FakeKernel
) -> None:
    failures = await make(mode, context).tunnels.apply([create(value(mode, 1, **changes))])
    assert text in str(failures[LinkName("t1")])
    assert kernel.writes == []


async def test_a_kernel_tunnel_of_one_mode_is_not_seen_by_the_others(context: PluginContext) -> None:
    fou = FakeFou()
    made = [make(mode, context, fou) for mode in plugin.MODES]
    for number, (mode, transport) in enumerate(zip(plugin.MODES, made, strict=True), 1):
        assert await transport.tunnels.apply([create(value(mode, number))]) == {}
    assert [set(await each.tunnels.observe()) for each in made] == [{"t1"}, {"t2"}, {"t3"}]


async def test_another_key_makes_another_device(context: PluginContext, kernel: FakeKernel) -> None:
    made, before = make("gre", context), value("gre", 1)
    await made.tunnels.apply([create(before)])
    for key in (0, 7, None):
        kernel.writes.clear()
        after = attrs.evolve(before, key=key)
        assert await made.tunnels.apply([Change(key=before.link, before=before, after=after)]) == {}
        assert await made.tunnels.observe() == {before.link: after}
        assert kernel.writes == ["delete t1", "add t1"]
        before = after


async def test_two_tunnels_between_the_same_ends_differ_in_their_keys(context: PluginContext) -> None:
    made, one = make("gre", context), value("gre", 1)
    two = attrs.evolve(one, link=LinkName("t2"), key=0)
    assert await made.tunnels.apply([create(one), create(two)]) == {}
    assert await made.tunnels.observe() == {one.link: one, two.link: two}


@pytest.mark.parametrize(
    "changes", [{"key": -1}, {"key": 8}, {"encapsulation": UdpEncapsulation(sport=5555, dport=5555)}]
)
async def test_a_changed_device_is_made_again(
    changes: dict[str, object], context: PluginContext, kernel: FakeKernel
) -> None:
    """Other keys in the two directions, another key, or the whole of it in UDP."""
    made, one = make("gre", context), value("gre", 1, key=7)
    await made.tunnels.apply([create(one)])
    kernel.place(attrs.evolve((await kernel.links())[one.link], **changes))
    observed = (await made.tunnels.observe())[one.link]
    assert observed != one
    assert await made.tunnels.apply([Change(key=one.link, before=observed, after=one)]) == {}
    assert await made.tunnels.observe() == {one.link: one}


async def test_without_gre_the_error_names_the_module(tmp_path: Path) -> None:
    context = make_context(tmp_path, kernel=FakeKernel(kinds=["tun", "ipip"]))
    made = make("gre", context, options=IpipOptions(backend="kernel"))
    failures = await made.tunnels.apply([create(value("gre", 1))])
    assert "load the module ip_gre, or use `backend: auto`" in str(failures[LinkName("t1")])


async def test_mtu_and_addresses_are_changed_in_place(context: PluginContext, kernel: FakeKernel) -> None:
    made, before = make("ipip", context), value("ipip", 1)
    await made.tunnels.apply([create(before)])
    kernel.writes.clear()
    after = attrs.evolve(before, mtu=1300, owner="TunnelInterface/other")
    assert await made.tunnels.apply([Change(key=before.link, before=before, after=after)]) == {}
    assert kernel.writes == ["set t1"]


async def test_a_listener_lives_as_long_as_a_tunnel_uses_its_port(context: PluginContext) -> None:
    fou = FakeFou()
    made = make("fou", context, fou)
    one, two = value("fou", 1), value("fou", 2, encapsulation=UdpEncapsulation(sport=5001, dport=6000))
    await made.tunnels.apply([create(one), create(two)])
    assert fou.ports == {5001: 4}
    await made.tunnels.apply([Change(key=one.link, before=one, after=None)])
    assert fou.ports == {5001: 4}
    moved = attrs.evolve(two, encapsulation=UdpEncapsulation(sport=5002, dport=6000))
    await made.tunnels.apply([Change(key=two.link, before=two, after=moved)])
    assert fou.ports == {5002: 4}
    # A restarted daemon knows that it is its own.
    await make("fou", context, fou).tunnels.apply([Change(key=two.link, before=moved, after=None)])
    assert fou.ports == {}
    assert not list(context.state_dir.glob("listener-*"))


async def test_a_listener_without_a_tunnel_goes_even_without_a_change(
    context: PluginContext, kernel: FakeKernel
) -> None:
    fou = FakeFou()
    fou.ports[5009] = 4
    one = value("fou", 1)
    await make("fou", context, fou).tunnels.apply([create(one)])
    kernel.remove(one.link)
    made = make("fou", context, fou)
    assert await made.tunnels.observe() == {}
    assert await made.tunnels.apply([]) == {}
    assert fou.ports == {5009: 4}


async def test_a_foreign_listener_is_used_and_stays(context: PluginContext) -> None:
    fou = FakeFou()
    fou.ports[5001] = 4
    made, one = make("fou", context, fou), value("fou", 1)
    assert await made.tunnels.apply([create(one)]) == {}
    await made.tunnels.apply([Change(key=one.link, before=one, after=None)])
    assert fou.ports == {5001: 4}


async def test_a_listener_of_an_earlier_boot_is_not_ours(context: PluginContext) -> None:
    fou = FakeFou()
    fou.ports[5009] = 4
    (context.state_dir / "listener-5009").write_text("another boot 1\n")
    made, one = make("fou", context, fou), value("fou", 1)
    await made.tunnels.apply([create(one)])
    await made.tunnels.apply([Change(key=one.link, before=one, after=None)])
    assert fou.ports == {5009: 4}


async def test_a_listener_for_another_protocol_is_named_and_left_alone(context: PluginContext) -> None:
    fou = FakeFou()
    fou.ports[5001] = 47
    failures = await make("fou", context, fou).tunnels.apply([create(value("fou", 1))])
    assert isinstance(failures[LinkName("t1")], NotOwnedError)
    assert "UDP port 5001: it unwraps protocol 47" in str(failures[LinkName("t1")])
    assert fou.ports == {5001: 47}


async def test_a_port_of_another_program_fails_only_its_tunnel(context: PluginContext) -> None:
    fou = FakeFou()
    fou.foreign.add(5001)
    made = make("fou", context, fou)
    failures = await made.tunnels.apply([create(value("fou", 1)), create(value("fou", 2))])
    assert set(failures) == {LinkName("t1")}
    assert set(await made.tunnels.observe()) == {LinkName("t2")}


async def test_a_removed_listener_is_made_again(context: PluginContext, kernel: FakeKernel) -> None:
    fou = FakeFou()
    made, one = make("fou", context, fou), value("fou", 1)
    await made.tunnels.apply([create(one)])
    fou.ports.clear()
    kernel.writes.clear()
    observed = await made.tunnels.observe()
    assert observed[one.link] != one
    await made.tunnels.apply([Change(key=one.link, before=observed[one.link], after=one)])
    assert await made.tunnels.observe() == {one.link: one}
    assert fou.ports == {5001: 4}
    assert not [line for line in kernel.writes if line.startswith(("add", "delete"))]


async def test_every_fault_of_the_kernel_is_a_failure_of_its_key(tmp_path: Path) -> None:
    number = 0
    for number, plan in enumerate(every_fault()):
        kernel = FakeKernel(faults=plan)
        place = tmp_path / str(number)
        place.mkdir()
        made = make("fou", make_context(place, kernel=kernel))
        one = value("fou", 1)
        failures = await made.tunnels.apply([create(one)])
        assert set(failures) <= {one.link}
        for _ in range(3):
            if not await made.tunnels.apply([create(one)]):
                break
        kernel.faults = FaultPlan()
        assert await made.tunnels.observe() == {one.link: one}
    assert number > 1, "no call of the kernel was failed"
