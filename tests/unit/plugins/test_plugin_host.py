"""PluginHost: only what is named is loaded, every fault is named, and nobody wins silently."""

from __future__ import annotations

import sys

import pytest
from tests.unit.plugins.plugin_world import World, refused

from routerd.plugins.host import PluginHost
from routerd.spi import ENTRY_POINT_GROUP

INFO = """
import routerd
from routerd.spi import PluginInfo, TransportMode
@routerd.hookimpl
def routerd_plugin_info():
    return PluginInfo(name="{name}", api=(1, 0), summary="")
"""
TRANSPORT = """
@routerd.hookimpl
def routerd_transports():
    return [TransportMode(kind="ipip", create=lambda context, options: None)]
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
    assert "plugin good: listed twice; remove one" in text
    assert "plugin missing is not installed" in text
    assert "plugin broken (dist-broken 1.0): import failed: ZeroDivisionError" in text


def test_two_plugins_for_one_transport_mode_are_refused(install: World) -> None:
    for name in ("one", "two"):
        install(name, INFO.format(name=name) + TRANSPORT)
    assert refused("one", "two") == "transport mode ipip: both one and two provide it; enable one of them"


def test_two_distributions_that_offer_one_name_are_refused(install: World) -> None:
    install("same", INFO.format(name="same"), distribution="first")
    install("same", INFO.format(name="same"), distribution="second")
    assert refused("same") == "plugin same: first 1.0 and second 1.0 offer it; uninstall one of them"


MALFORMED = {
    "no value": "[console_scripts]\nbroken\n",
    "not text": b"[console_scripts]\nx = \xff\xfe\n",
}


@pytest.mark.parametrize("entry_points", MALFORMED.values(), ids=MALFORMED.keys())
def test_a_distribution_that_cannot_be_read_costs_one_warning_that_names_it(
    install: World, entry_points: str | bytes
) -> None:
    install("a_good", GOOD.replace('"p"', '"a_good"'))
    install("z_good", GOOD.replace('"p"', '"z_good"'))
    install.distribution("m-unrelated", entry_points)
    host = PluginHost.load(["a_good", "z_good"])
    assert [each.info.name for each in host.plugins] == ["a_good", "z_good"]
    (warning,) = host.warnings
    assert warning.startswith("distribution m-unrelated 1.0: its entry points cannot be read: ")
    assert warning.endswith("; reinstall it")


def test_a_plugin_that_is_missing_may_be_in_what_cannot_be_read(install: World) -> None:
    install.distribution("m-unrelated", MALFORMED["no value"])
    missing, unreadable = refused("p").splitlines()
    assert missing == "plugin p is not installed (installed: none)"
    assert "m-unrelated 1.0" in unreadable


def test_a_bad_distribution_is_no_fault_of_a_plugin_that_is_refused_for_another_reason(
    install: World,
) -> None:
    install.distribution("m-unrelated", MALFORMED["no value"])
    install("p", "")
    assert "m-unrelated" not in refused("p")


def test_a_name_that_one_distribution_gives_twice_is_refused(install: World) -> None:
    one, two = install.module("one", GOOD), install.module("two", GOOD)
    install.distribution("twice", f"[{ENTRY_POINT_GROUP}]\np = {one}\np = {two}\n")
    assert refused("p") == f"plugin p: twice 1.0 offers it twice, as {one} and {two}; uninstall it"


def test_a_name_that_is_given_twice_the_same_is_given_once(install: World) -> None:
    module = install.module("p", GOOD)
    install.distribution("twice", f"[{ENTRY_POINT_GROUP}]\np = {module}\np = {module}\n")
    assert [each.info.name for each in PluginHost.load(["p"]).plugins] == ["p"]


def test_a_distribution_that_is_found_twice_is_the_one_that_is_found_first(install: World) -> None:
    first, second = install.module("p", GOOD), install.module("p", "raise OSError")
    install.distribution("mine", f"[{ENTRY_POINT_GROUP}]\np = {first}\n")
    install.distribution("mine", f"[{ENTRY_POINT_GROUP}]\np = {second}\n", later=True)
    (loaded,) = PluginHost.load(["p"]).plugins
    assert loaded.installed.entry_point.value == first


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("", "routerd_plugin_info must return exactly one PluginInfo"),
        (INFO.format(name="other"), "its info has the name other"),
        (GOOD.replace("(1, 0)", "(1, 99)"), "needs plugin API 1.99"),
        (GOOD + TRANSPORT.replace("_transports", "_transport"), "unknown hook 'routerd_transport'"),
        (GOOD + TRANSPORT.replace("def ", "async def "), "hooks are synchronous"),
        (GOOD + TRANSPORT.replace("return [", "return 1 or ["), "returned 1, not a sequence"),
        (GOOD + TRANSPORT.replace("return [", "return ['x'] or ["), "not a TransportMode"),
        (GOOD + TRANSPORT.replace("return", "raise OSError('no disk') #"), "no disk"),
    ],
)  # fmt: skip
def test_a_plugin_that_breaks_the_contract_is_told_how(install: World, code: str, words: str) -> None:
    install("p", code)
    text = refused("p")
    assert "plugin p" in text
    assert words in text
