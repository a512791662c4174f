"""PluginHost: only what is named is loaded, every fault is named, and nobody wins silently."""

from __future__ import annotations

import sys

import pytest
from tests.unit.runtime.plugin_world import World, refused

from routerd.runtime.host import PluginHost

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


def test_what_is_not_named_is_never_imported(install: World) -> None:
    install("good", INFO.format(name="good"))
    install("other", "raise SystemExit('imported')")
    assert [plugin.info.name for plugin in PluginHost.load(["good"]).plugins] == ["good"]
    assert not [name for name in sys.modules if name.startswith("plugin_other")]


def test_an_unknown_plugin_is_named_with_what_is_installed_and_what_was_meant(install: World) -> None:
    install("bgp_ryu", INFO.format(name="bgp_ryu"))
    assert refused("bgp_riu") == (
        "plugin bgp_riu is not installed (installed: bgp_ryu); did you mean bgp_ryu?"
    )


def test_every_fault_is_told_at_once(install: World) -> None:
    install("broken", "1 / 0")
    install("good", INFO.format(name="good"))
    text = refused("broken", "missing", "good", "good")
    assert "plugin good is named twice" in text
    assert "plugin missing is not installed" in text
    assert "plugin broken (dist-broken 1.0) cannot be loaded: ZeroDivisionError" in text


def test_two_plugins_for_one_transport_mode_are_refused(install: World) -> None:
    for name in ("one", "two"):
        install(name, INFO.format(name=name) + TRANSPORT)
    assert refused("one", "two") == "transport mode ipip is provided by both one and two; enable one of them"


def test_two_distributions_that_offer_one_name_are_refused(install: World) -> None:
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
def test_a_plugin_that_breaks_the_contract_is_told_how(install: World, code: str, words: str) -> None:
    install("p", code)
    text = refused("p")
    assert "plugin p" in text
    assert words in text
