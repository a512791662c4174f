"""The rules that the core relies on in a plugin as a whole: its import, its name, its hooks."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
from importlib import import_module, metadata
from typing import ClassVar

import attrs
import pluggy
import pytest

from routerd import hookspecs
from routerd.plugins.host import PluginHost
from routerd.spi import API_VERSION, ENTRY_POINT_GROUP

_LISTS = (
    "routerd_transports",
    "routerd_routings",
    "routerd_enrollments",
    "routerd_fabrics",
    "routerd_subsystems",
    "routerd_control_routes",
    "routerd_commands",
)

# Runs in its own process: nothing removes an audit hook, and an import happens once.
_WATCH = """
import json, sys
import routerd, routerd.spi, routerd.errors, routerd.hookspecs
seen, where = [], ["import"]
WRITES = ("w", "a", "x", "+")
NAMES = ("socket.connect", "socket.bind", "socket.getaddrinfo", "subprocess.Popen", "os.system", "os.exec",
         "os.fork", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.chmod", "os.link", "os.symlink")
def watch(event, args):
    writes = event == "open" and isinstance(args[1], str) and any(mark in args[1] for mark in WRITES)
    if event in NAMES or writes:
        seen.append(f"{where[0]}: {event} {args[:2]!r}")
sys.addaudithook(watch)
import importlib
module = importlib.import_module(sys.argv[1])
for name in sys.argv[2:]:
    hook = getattr(module, name, None)
    if hook is not None:
        where[0] = name
        hook()
where[0] = "end"
sys.stdout.write(json.dumps([line for line in seen]))
"""


class PluginContract:
    """The suite of a plugin; set `name` to its entry point's name. It must be installed.

    Added in 1.0.
    """

    name: ClassVar[str] = ""

    @pytest.fixture
    def entry_point(self) -> metadata.EntryPoint:
        """Return the plugin's entry point."""
        assert type(self).name, "set the class attribute `name`"
        found = [each for each in metadata.entry_points(group=ENTRY_POINT_GROUP) if each.name == self.name]
        assert found, f"no entry point {self.name} in {ENTRY_POINT_GROUP}; is the plugin installed?"
        return found[0]

    @pytest.mark.proves("import")
    def test_import_and_hooks_do_no_io(self, entry_point: metadata.EntryPoint) -> None:
        """Neither an import of the plugin nor a hook opens a socket, starts a process or writes."""
        done = subprocess.run(
            [sys.executable, "-c", _WATCH, entry_point.module, "routerd_plugin_info", *_LISTS],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        )
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == []

    def test_the_core_loads_it(self, entry_point: metadata.EntryPoint) -> None:
        """The host's own checks pass: names, versions, types and options."""
        loaded = PluginHost.load([entry_point.name]).plugins[0]
        assert loaded.info.name == entry_point.name
        assert loaded.info.api[0] == API_VERSION[0]
        assert loaded.info.summary, "say in one line what the plugin does"

    def test_every_implementation_has_a_specification(self, entry_point: metadata.EntryPoint) -> None:
        """A misspelt hook would never be called."""
        manager = pluggy.PluginManager(hookspecs.PROJECT)
        manager.add_hookspecs(hookspecs)
        manager.register(import_module(entry_point.module))
        # The rule is that this does not raise.
        manager.check_pending()

    def test_hooks_are_plain_functions_that_answer_alike(self, entry_point: metadata.EntryPoint) -> None:
        """Hooks are synchronous and may be called again by `routerd plugins`."""
        module = import_module(entry_point.module)
        for name in _LISTS:
            hook = getattr(module, name, None)
            if hook is None:
                continue
            assert not inspect.iscoroutinefunction(hook), f"{name} is async"
            assert len(hook()) == len(hook()), f"{name} answers differently the second time"

    def test_options_are_frozen_attrs_classes(self, entry_point: metadata.EntryPoint) -> None:
        """Options are values: they are compared on reload, so they must not change."""
        loaded = PluginHost.load([entry_point.name]).plugins[0]
        providers = (*loaded.transports, *loaded.routings, *loaded.enrollments, *loaded.fabrics)
        ends = [end for method in loaded.enrollments for end in (method.policy, method.client)]
        ends += [mode.tunnel for mode in loaded.transports]
        for options in {loaded.info.config, *(provider.options for provider in providers), *ends}:
            assert attrs.has(options), f"{options.__name__} is not an attrs class"
            assert options.__setattr__ is not object.__setattr__, f"{options.__name__} is not frozen"
