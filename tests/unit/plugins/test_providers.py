"""A provider is made in a world of its own; its plugin is named when that fails."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from routerd.errors import PluginError
from routerd.plugins.check import prepare
from routerd.plugins.conflicts import PluginFault
from routerd.plugins.host import PluginHost
from routerd.plugins.installed import InstalledPlugin
from routerd.plugins.loading import LoadedPlugin
from routerd.plugins.providers import ProviderFactory, Providers
from routerd.process.directories import Directories
from routerd.process.log import Log
from routerd.process.supervisor import Supervisor
from routerd.spi import Capability, PluginContext, PluginInfo, TransportMode
from routerd.testing.clock import FakeClock
from routerd.testing.kernel import FakeKernel


class Bench:
    """Makes the providers of one plugin called `p`."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        self.contexts: list[PluginContext] = []
        self.woken: list[str | None] = []
        self.providers: tuple[TransportMode, ...] = ()
        monkeypatch.setattr(PluginHost, "attempt", self._attempt)

    def _attempt(self, names: Any) -> tuple[PluginHost, tuple[PluginFault, ...]]:
        entry = EntryPoint(name="p", value="p", group="")
        installed = InstalledPlugin(name="p", distribution="p", version="1", entry_point=entry)
        info = PluginInfo(name="p", api=(1, 0), summary="")
        return PluginHost([LoadedPlugin(info=info, installed=installed, transports=self.providers)]), ()

    def create(self, context: PluginContext, options: object) -> Any:
        self.contexts.append(context)
        return object()

    def make(self, **more: Any) -> Providers:
        file = self.root / "r.yaml"
        file.write_text(
            "apiVersion: routerd.net/v1alpha1\nkind: Router\nmetadata: {name: m}\n"
            "plugins: [p]\nspec: {resources: []}\n"
        )
        clock, log = FakeClock(), Log()
        return ProviderFactory(
            prepared=prepare(file),
            directories=Directories(state=self.root / "s", run=Path(self.root / "r")),
            kernel=FakeKernel(),
            clock=clock,
            log=log,
            supervisor=Supervisor(clock=clock, log=log),
            wake=self.woken.append,
            **more,
        ).make()


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(tmp_path, monkeypatch)


def test_a_provider_gets_a_world_of_its_own(bench: Bench) -> None:
    bench.providers = (TransportMode(kind="ipip", create=bench.create),)
    assert list(bench.make(read_only=True).transports) == ["ipip"]
    (context,) = bench.contexts
    assert (context.plugin, context.node, context.read_only) == ("p", "m", True)
    assert context.state_dir.is_dir()
    assert context.run_dir.is_dir()
    context.wake()
    assert bench.woken == ["host"]


def test_a_provider_that_cannot_be_made_is_named_with_its_plugin(bench: Bench) -> None:
    def broken(*_: object) -> Any:
        raise KeyError("x")

    bench.providers = (TransportMode(kind="ipip", create=broken),)
    with pytest.raises(PluginError, match="plugin p: provider ipip: `create` failed: KeyError"):
        bench.make()


def test_a_transport_that_says_it_encrypts_has_peers(bench: Bench) -> None:
    encrypts = frozenset({Capability.ENCRYPTS})
    bench.providers = (TransportMode(kind="wireguard", create=bench.create, capabilities=encrypts),)
    with pytest.raises(PluginError, match="plugin p: wireguard declares ENCRYPTS and has no table `peers`"):
        bench.make()
