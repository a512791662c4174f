"""A plugin that leaves, or takes a name that is not its own, is refused by name; the others are loaded."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from tests.unit.plugins.plugin_world import World, refused
from tests.unit.plugins.test_plugin_host import INFO

from routerd.cli.main import COMMANDS, routerd
from routerd.cli.share.settings import Settings
from routerd.errors import ConfigError, TransientError
from routerd.plugins.host import PluginHost
from routerd.plugins.installed import PROVIDES_GROUP
from routerd.plugins.loading import BUILTIN_COMMANDS, LoadedPlugin
from routerd.runtime.control_routes import contained_routes
from routerd.spi import ENTRY_POINT_GROUP, ControlRoute
from routerd.testing.context import RecordingLogger

EXITS = """
import sys
@routerd.hookimpl
def routerd_transports():
    sys.exit(0)
"""
SHADOWS = """
import click
@routerd.hookimpl
def routerd_commands():
    return [click.Command("{name}")]
"""


def test_a_hook_that_leaves_the_process_is_a_fault_of_its_plugin(install: World) -> None:
    install("p", INFO.format(name="p") + EXITS)
    install("good", INFO.format(name="good"))
    host, faults = PluginHost.attempt(["p", "good"])
    assert [each.info.name for each in host.plugins] == ["good"]
    assert [each.text for each in faults] == ["plugin p: routerd_transports failed: SystemExit: 0"]


def test_the_command_of_a_plugin_takes_no_name_of_ours_or_of_another_plugin(install: World) -> None:
    assert set(COMMANDS) == BUILTIN_COMMANDS
    install("p", INFO.format(name="p") + SHADOWS.format(name="status"))
    assert refused("p") == "plugin p: command status belongs to routerd; choose another name"
    for name in ("one", "two"):
        install(name, INFO.format(name=name) + SHADOWS.format(name="same"))
    assert refused("one", "two") == "command same: both one and two add it; enable one of them"


def test_a_command_is_found_by_the_distribution_that_names_it(install: World) -> None:
    def run(*words: str) -> Result:
        return CliRunner().invoke(routerd, [*words, "same"], obj=Settings())

    def added(name: str, *, named: bool) -> None:
        module = install.module(name, INFO.format(name=name) + SHADOWS.format(name="same"))
        words = f"[{PROVIDES_GROUP}]\ncommand.same = {module}\n" if named else ""
        install.distribution(f"dist-{name}", f"[{ENTRY_POINT_GROUP}]\n{name} = {module}\n{words}")

    added("zero", named=False)
    assert "No such command" in run().output
    added("one", named=True)
    assert run().exit_code == 0, run().output
    added("two", named=True)
    assert str(run().exception) == "command same: one and two add it; name one of them with --plugins"
    assert run("--plugins", "two").exit_code == 0


def test_plugins_lists_the_others_beside_one_that_is_broken(install: World, tmp_path: Path) -> None:
    install("p", INFO.format(name="p") + EXITS)
    install("good", INFO.format(name="good"))
    words = ["--config", str(tmp_path / "none.yaml"), "--plugins", "p,good,missing", "plugins", "-o", "json"]
    done = CliRunner().invoke(routerd, words, obj=Settings())
    assert done.exit_code == 0, done.output
    found = {each["name"]: each for each in json.loads(done.stdout)["plugins"]}
    assert found["p"]["enabled"] is True
    assert found["p"]["fault"] == "plugin p: routerd_transports failed: SystemExit: 0"
    assert (found["good"]["enabled"], found["good"].get("fault", "")) == (True, "")
    assert "plugin missing is not installed" in done.stderr


# --- control routes ----------------------------------------------------------------------------------


def contained(handler: Callable[[Any], Awaitable[Any]]) -> ControlRoute:
    route = ControlRoute(method="GET", path="/x", handler=handler)
    info: Any = type("Info", (), {"name": "p"})
    plugin = LoadedPlugin(info=info, installed=info, control_routes=(route,))
    (found,) = contained_routes([plugin], {}, log=RecordingLogger(), deadline=0.05)["p"]
    return found


async def hangs(_: object) -> None:
    await asyncio.Event().wait()


async def exits(_: object) -> None:
    raise SystemExit(3)


async def lies(_: object) -> object:
    return {1, 2}


@pytest.mark.parametrize(
    ("handler", "words"),
    [(hangs, r"no answer within 0\.05 s"), (exits, r"SystemExit\(3\)"), (lies, "not JSON serializable")],
)
async def test_a_route_that_misbehaves_names_its_plugin(handler: Any, words: str) -> None:
    with pytest.raises(TransientError, match=rf"route GET /x \(plugin p\): .*{words}"):
        await contained(handler).handler({})


async def test_a_route_answers_and_refuses_bad_requests() -> None:
    async def echo(request: Any) -> Any:
        if not request:
            raise ConfigError.single("request", "empty")
        return request

    assert await contained(echo).handler({"a": 1}) == {"a": 1}
    with pytest.raises(ConfigError, match="empty"):
        await contained(echo).handler({})
