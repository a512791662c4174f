"""Directories that are private and short enough, and providers that are made with a world of their own."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from routerd.errors import PluginError, StoreError
from routerd.runtime.directories import Directories
from routerd.runtime.host import InstalledPlugin, LoadedPlugin, PluginHost
from routerd.runtime.log import Log
from routerd.runtime.prepare import prepare
from routerd.runtime.providers import Made, Workshop
from routerd.runtime.supervisor import Supervisor
from routerd.spi import Capability, PluginContext, PluginInfo, Provider
from routerd.testing.clock import FakeClock
from routerd.testing.kernel import FakeKernel


def test_directories_are_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Relative, because the path of a temporary directory may be too long for a socket.
    monkeypatch.chdir(tmp_path)
    directories = Directories(state=Path("a/state"), run=Path("run"))
    directories.make()
    paths = [directories.state, directories.run, *directories.plugin("x")]
    assert {path.stat().st_mode & 0o777 for path in paths} == {0o700}
    directories.make()
    assert directories.admin_socket == Path("run/routerd.sock")


def test_a_run_directory_too_long_for_a_socket_is_refused_before_it_is_made(tmp_path: Path) -> None:
    long = tmp_path / ("x" * 100)
    with pytest.raises(StoreError, match="too long for a socket's path"):
        Directories(state=tmp_path, run=long).make()
    assert not long.exists()


def test_a_file_in_the_way_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("state").touch()
    with pytest.raises(StoreError, match="state cannot be made: File exists; use --state-dir"):
        Directories(state=Path("state"), run=Path("run")).make()


class Bench:
    """Makes the providers of one plugin called `p`."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        self.contexts: list[PluginContext] = []
        self.woken: list[str | None] = []
        self.providers: tuple[Provider[Any], ...] = ()
        monkeypatch.setattr(PluginHost, "load", self._load)

    def _load(self, names: Any) -> PluginHost:
        entry = EntryPoint(name="p", value="p", group="")
        installed = InstalledPlugin(name="p", distribution="p", version="1", entry_point=entry)
        info = PluginInfo(name="p", summary="")
        return PluginHost([LoadedPlugin(info=info, installed=installed, transports=self.providers)])

    def create(self, context: PluginContext, options: object) -> Any:
        self.contexts.append(context)
        return object()

    def make(self, **more: Any) -> Made:
        file = self.root / "r.yaml"
        file.write_text(
            "apiVersion: routerd.net/v1alpha1\nkind: Router\nmetadata: {name: m}\n"
            "plugins: [p]\nspec: {resources: []}\n"
        )
        clock, log = FakeClock(), Log()
        return Workshop(
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
    bench.providers = (Provider(kind="ipip", create=bench.create),)
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

    bench.providers = (Provider(kind="ipip", create=broken),)
    with pytest.raises(PluginError, match="plugin p: provider ipip cannot be made: KeyError"):
        bench.make()


def test_a_transport_that_says_it_encrypts_has_peers(bench: Bench) -> None:
    encrypts = frozenset({Capability.ENCRYPTS})
    bench.providers = (Provider(kind="wireguard", create=bench.create, capabilities=encrypts),)
    with pytest.raises(PluginError, match="plugin p: wireguard says it encrypts but has no peers"):
        bench.make()
