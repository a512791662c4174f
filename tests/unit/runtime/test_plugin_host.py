"""PluginHost: only what is named is loaded, every fault is named, and nobody wins silently."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from routerd.errors import PluginError
from routerd.runtime import host
from routerd.runtime.host import PluginHost
from routerd.spi import ENTRY_POINT_GROUP

Install = Callable[..., None]

_NUMBERS = itertools.count()

INFO = """
import routerd
from routerd.spi import PluginInfo, Provider
@routerd.hookimpl
def routerd_plugin_info():
    return PluginInfo(name="{name}", summary="")
"""
TRANSPORT = """
@routerd.hookimpl
def routerd_transports():
    return [Provider(kind="ipip", create=lambda context, options: None)]
"""


GOOD = INFO.format(name="p")


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Install distributions of one module each; nothing else is installed."""
    monkeypatch.syspath_prepend(str(tmp_path))
    real = host.metadata.distributions

    def only_ours() -> object:
        return real(path=[str(tmp_path)])

    monkeypatch.setattr(host.metadata, "distributions", only_ours)

    def add(name: str, code: str, *, distribution: str = "") -> None:
        distribution = distribution or f"dist-{name}"
        # A name of its own: a module stays imported for the rest of the run.
        module = f"mod_{distribution.replace('-', '_')}_{next(_NUMBERS)}"
        (tmp_path / f"{module}.py").write_text(code)
        directory = tmp_path / f"{distribution.replace('-', '_')}-1.0.dist-info"
        directory.mkdir()
        (directory / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        (directory / "entry_points.txt").write_text(f"[{ENTRY_POINT_GROUP}]\n{name} = {module}\n")

    return add


def refused(*names: str) -> str:
    with pytest.raises(PluginError) as caught:
        PluginHost.load(names)
    return str(caught.value)


def test_what_is_not_named_is_never_imported(install: Install) -> None:
    install("good", INFO.format(name="good"))
    install("other", "raise SystemExit('imported')")
    assert [plugin.info.name for plugin in PluginHost.load(["good"]).plugins] == ["good"]
    assert not [name for name in sys.modules if name.startswith("mod_dist_other")]


def test_an_unknown_plugin_is_named_with_what_is_installed_and_what_was_meant(install: Install) -> None:
    install("bgp_ryu", INFO.format(name="bgp_ryu"))
    assert refused("bgp_riu") == (
        "plugin bgp_riu is not installed (installed: bgp_ryu); did you mean bgp_ryu?"
    )


def test_every_fault_is_told_at_once(install: Install) -> None:
    install("broken", "1 / 0")
    install("good", INFO.format(name="good"))
    text = refused("broken", "missing", "good", "good")
    assert "plugin good is named twice" in text
    assert "plugin missing is not installed" in text
    assert "plugin broken (dist-broken 1.0) cannot be loaded: ZeroDivisionError" in text


def test_two_plugins_for_one_transport_mode_are_refused(install: Install) -> None:
    for name in ("one", "two"):
        install(name, INFO.format(name=name) + TRANSPORT)
    assert refused("one", "two") == "transport mode ipip is provided by both one and two; enable one of them"


def test_two_distributions_that_offer_one_name_are_refused(install: Install) -> None:
    install("same", INFO.format(name="same"), distribution="first")
    install("same", INFO.format(name="same"), distribution="second")
    assert refused("same") == "plugin same is offered by first 1.0 and second 1.0; uninstall one of them"


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("", "must implement routerd_plugin_info"),
        (INFO.format(name="other"), "calls itself other"),
        (GOOD.replace('summary=""', 'summary="", api=(1, 99)'), "needs plugin API 1.99"),
        (GOOD + TRANSPORT.replace("_transports", "_transport"), "unknown hook 'routerd_transport'"),
        (GOOD + TRANSPORT.replace("def ", "async def "), "hooks are synchronous"),
        (GOOD + TRANSPORT.replace("return [", "return 1 or ["), "returned 1, not a sequence"),
        (GOOD + TRANSPORT.replace("return [", "return ['x'] or ["), "not a Provider"),
        (GOOD + TRANSPORT.replace("return", "raise OSError('no disk') #"), "no disk"),
    ],
)  # fmt: skip
def test_a_plugin_that_breaks_the_contract_is_told_how(install: Install, code: str, words: str) -> None:
    install("p", code)
    text = refused("p")
    assert "plugin p" in text
    assert words in text
