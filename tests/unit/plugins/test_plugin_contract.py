"""What a plugin may describe: every breach is a `PluginError` that names the plugin, never a crash."""

from __future__ import annotations

import gc

import pytest
from tests.unit.plugins.plugin_world import World, refused

from routerd.plugins.host import PluginHost
from routerd.plugins.installed import installation

HEAD = """
import attrs, click, routerd
from routerd.model.resource import ResourceKind
from routerd.spi import (
    ControlRoute, JoinMethod, NoOptions, PluginInfo, Provider, SubsystemTable, SubsystemType, TransportMode
)
@attrs.frozen
class Spec:
    size: int = 0
def made(context, options): ...
"""


INFO = """
@routerd.hookimpl
def routerd_plugin_info():
    return PluginInfo(name={name!r}, summary=""{info})
"""


def plugin(name: str, *hooks: str, info: str = "") -> str:
    api = "" if "api=" in info else ", api=(1, 0)"
    return "\n".join([HEAD, INFO.format(name=name, info=info + api), *hooks])


def hook(family: str, result: str) -> str:
    return f"@routerd.hookimpl\ndef routerd_{family}():\n    return {result}"


def described(family: str, name: str) -> str:
    if family == "enrollments":
        return f"[JoinMethod(kind={name!r}, create=made, binds_claim=True)]"
    if family == "transports":
        return f"[TransportMode(kind={name!r}, create=made)]"
    if family == "subsystems":
        return f"[SubsystemType(kind={name!r}, create=made, derive=made)]"
    return f"[Provider(kind={name!r}, create=made)]"


def kind(name: str, *, api: str = "x.example/v1", teardown: str = "the thing", spec: str = "Spec") -> str:
    return (
        f"ResourceKind(api_version={api!r}, kind={name!r}, spec={spec}, teardown={teardown!r}, "
        "runtime_only=False)"
    )


SUBSYSTEM = "SubsystemType(kind='s', create=made, derive=made"


def with_kinds(*kinds: str) -> str:
    return hook("subsystems", f"[{SUBSYSTEM}, kinds=({', '.join(kinds)},))]")


def with_tables(*tables: str) -> str:
    return hook("subsystems", f"[{SUBSYSTEM}, tables=({', '.join(tables)},))]")


def test_everything_that_a_plugin_describes_is_found_by_its_kind(install: World) -> None:
    families = ("transports", "routings", "enrollments", "fabrics")
    install(
        "all",
        plugin(
            "all",
            *(hook(family, described(family, family)) for family in families),
            with_kinds(kind("Thing")),
            hook("control_routes", "(ControlRoute(method='GET', path='x', handler=made),)"),
            hook("commands", "[click.Command('do')]"),
        ),
    )
    loaded = PluginHost.load(["all"])
    for family in families:
        ((key, (owner, provider)),) = getattr(loaded, family)().items()
        assert (key, owner.info.name, provider.kind) == (family, "all", family)
    assert [each.kind for each in loaded.resource_kinds()] == ["Thing"]
    assert [each.path for each in loaded.plugins[0].control_routes] == ["x"]
    assert [each.name for each in loaded.plugins[0].commands] == ["do"]


def test_no_plugin_at_all_is_core_alone(install: World) -> None:
    install("other", "raise AssertionError")
    assert PluginHost.load([]).plugins == ()


def test_a_plugin_of_another_major_version_is_not_installed_for_us(install: World) -> None:
    install("p", plugin("p"), group="routerd.plugins.v2")
    assert installation().plugins == {}
    assert refused("p") == "plugin p is not installed (installed: none)"


def test_plugins_stand_in_the_order_of_the_allow_list(install: World) -> None:
    for name in ("a", "b", "c"):
        install(name, plugin(name))
    assert [each.info.name for each in PluginHost.load(["c", "a", "b"]).plugins] == ["c", "a", "b"]


PROVIDER = "Provider(kind='k', create=made)"
TABLE = "SubsystemTable(name='{}', after='{}')"
MODE = "TransportMode(kind='k', create=made)"
NONE = "TransportMode(kind='none', create=made)"


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import sys\nsys.exit(3)", "SystemExit"),
        ("import no_such_module", "No module named 'no_such_module'"),
        ("syntax error", "SyntaxError"),
        (plugin("p", hook("transports", "None")), "routerd_transports returned None, not a sequence"),
        (plugin("p", hook("commands", "'ab'")), "returned 'ab', not a sequence"),
        (plugin("p", hook("fabrics", "{'k': 1}")), "not a sequence"),
        (plugin("p", hook("fabrics", "[made]")), "not a Provider"),
        (plugin("p", hook("commands", "[made]")), "not a Command"),
        (plugin("p", hook("control_routes", "[1]")), "not a ControlRoute"),
        (plugin("p", hook("transports", f"[{MODE}, {MODE}]")), "provides transport mode k twice"),
        (plugin("p", hook("transports", f"[{MODE[:-1]}, options=Spec)]")), "plugin's own configuration"),
        (plugin("p", hook("transports", f"[{PROVIDER}]")), "not a TransportMode"),
        (plugin("p", hook("transports", f"[{NONE}]")), "choose another name"),
        (plugin("p", hook("transports", f"[{MODE[:-1]}, tunnel=int)]")), "are not an attrs class"),
        (plugin("p", hook("transports", f"[{MODE[:-1]}, key=True)]")), "never, optional, required"),
        (plugin("p", hook("fabrics", f"[{PROVIDER[:-1]}, options=int)]")), "options of provider k"),
        (plugin("p", info=", config=int"), "is not an attrs class"),
        (plugin("p").replace(", api=(1, 0)", ""), "missing 1 required keyword-only argument: 'api'"),
        (plugin("p", info=", api='1.0'"), "api '1.0'"),
        (plugin("p", info=", api=1"), "api 1"),
        (plugin("p", info=", api=(1,)"), "api (1,)"),
        (plugin("p", info=", api=(2, 0)"), "needs plugin API 2.0; this routerd has 1.0"),
        (plugin("p", info=", api=(0, 9)"), "needs plugin API 0.9; this routerd has 1.0"),
        (plugin("p").replace("def routerd_plugin_info", "async def routerd_plugin_info"), "synchronous"),
        (plugin("p", with_kinds(kind("T", teardown=" "))), "declares no teardown"),
        (plugin("p", with_kinds(kind("T", spec="int"))), "is not an attrs class"),
        (plugin("p", with_kinds(kind("T"), kind("T"))), "kind T twice"),
        (plugin("p", with_kinds(kind("BGPRouter"))), "kind BGPRouter belongs to routerd"),
        (plugin("p", with_kinds(kind("FirewallRule"))), "kind FirewallRule belongs to routerd"),
        (plugin("p", with_tables(TABLE.format("a b", "routes"))), "that of one attribute of the provider"),
        (plugin("p", with_tables(TABLE.format("class", "routes"))), "that of one attribute of the provider"),
        (plugin("p", with_tables(*2 * [TABLE.format("a", "routes")])), "table a of subsystem s: the name"),
        (plugin("p", with_tables(TABLE.format("a", "weather"))), "after is 'weather'; write one of"),
    ],
)  # fmt: skip
def test_a_breach_of_the_contract_names_the_plugin_and_the_breach(
    install: World, code: str, words: str
) -> None:
    install("p", code)
    text = refused("p")
    assert "plugin p" in text
    assert words in text
    if "async def" in code:
        gc.collect()  # would say that a coroutine was never awaited


def test_one_bad_plugin_does_not_keep_the_faults_of_another_secret(install: World) -> None:
    install("a", "raise OSError('a')")
    install("b", plugin("c"))
    assert len(refused("a", "b").splitlines()) == 2


@pytest.mark.parametrize("other", ["x.example/v1", "y.example/v1"])
def test_two_plugins_for_one_kind_of_resource_are_refused(install: World, other: str) -> None:
    install("a", plugin("a", with_kinds(kind("Thing"))))
    install("b", plugin("b", with_kinds(kind("Thing", api=other)).replace("kind='s'", "kind='t'")))
    assert refused("a", "b") == "resource kind Thing: both a and b define it; enable one of them"


@pytest.mark.parametrize(
    ("family", "noun"),
    [
        ("routings", "routing protocol"),
        ("enrollments", "join method"),
        ("fabrics", "cloud"),
        ("subsystems", "subsystem"),
    ],
)
def test_two_providers_of_one_name_are_refused_in_every_family(
    install: World, family: str, noun: str
) -> None:
    for name in ("a", "b"):
        install(name, plugin(name, hook(family, described(family, "k"))))
    assert refused("a", "b") == f"{noun} k: both a and b provide it; enable one of them"


def test_an_interrupt_while_a_plugin_is_imported_is_no_fault_of_the_plugin(install: World) -> None:
    install("p", "raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        PluginHost.load(["p"])
