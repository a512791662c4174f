"""What a command imports: a command starts fast because it loads only what it needs.

Each runs as a program of its own, as a shell starts it, and says what it has loaded when it ends.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import click
import pytest
from tests.unit.cli.leaf_world import EXAMPLES
from tests.unit.cli.report_samples import filled
from tests.unit.control.admin_world import MemoryView, claim_document, entry, serving_admin

from routerd.cli.main import COMMANDS, routerd
from routerd.cli.share.lazy import LazyGroup
from routerd.model.report.resources import ResourceList
from routerd.model.report.status import Status

PROGRAM = """
import json, sys
from routerd.cli import main
try:
    main()
finally:
    sys.stderr.write("\\n" + json.dumps(sorted(sys.modules)))
"""
HEAVY = frozenset({
    "aiohttp", "asyncio", "azure", "boto3", "botocore", "cattrs", "cryptography", "http", "oci",
    "prometheus_client", "proxmoxer", "pyroute2", "rich", "sqlite3", "yaml",
})  # fmt: skip
PARTS = ("routerd.spi", "routerd.plugins", "routerd.config", "routerd.runtime.router", "routerd.testing")
"""Packages of our own that take as long as a library."""

ASK = {"cattrs", "http"}
TABLE = {*ASK, "rich"}
FILE = {"cattrs", "yaml", "routerd.spi", "routerd.plugins", "routerd.config"}

BARE: Mapping[str, set[str]] = {
    "--version": set(),
    "--help": set(),
    "-h": set(),
    "actions --help": set(),
    "enroll --help": set(),
    "status --help": ASK,
    "nosuch": {"yaml", "routerd.spi", "routerd.plugins", "routerd.config"},
    f"validate --config {EXAMPLES}/nowhere.yaml": FILE,
    "plugins": {*FILE, "rich"},
    # Without a daemon.
    "status": ASK,
    "routes": ASK,
    "enroll revoke leaf-a": {*ASK, "asyncio", "yaml", "routerd.spi", "routerd.config"},
}
ASKING: Mapping[str, set[str]] = {
    "status": TABLE,
    "status -o json": ASK,
    "status -o yaml": {*ASK, "yaml"},
    "peers": TABLE,
    "routes": TABLE,
    "routes --rejected": TABLE,
    "explain 10.83.10.20": TABLE,
    "explain 10.83.10.20 --json": ASK,
    "get all": TABLE,
    "metrics": ASK,
    "reload": ASK,
    "retry": ASK,
    "plan": TABLE,
    "enroll list": TABLE,
    "enroll list --json": ASK,
}


class FullView(MemoryView):
    """A router that has everything."""

    async def status(self) -> Status:
        return filled(Status)

    async def resources(self) -> ResourceList:
        return filled(ResourceList)


def loaded(arguments: str, run_dir: Path) -> set[str]:
    """Run a command; return which of HEAVY and PARTS it has loaded, and the plugins."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments.split(), *_run_dir(arguments, run_dir)],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    modules: list[str] = json.loads(done.stderr.splitlines()[-1])
    assert "routerd.cli.main" in modules
    tops = {module.partition(".")[0] for module in modules}
    return {
        *(tops & HEAVY),
        *(top for top in tops if top.startswith("routerd_")),
        *(part for part in PARTS if part in modules),
    }


def _run_dir(arguments: str, run_dir: Path) -> tuple[str, ...]:
    return () if arguments.startswith("-") or "--help" in arguments else ("--run-dir", str(run_dir))


@pytest.mark.parametrize("arguments", BARE)
def test_a_command_that_asks_nobody_loads_only_what_it_needs(arguments: str, tmp_path: Path) -> None:
    assert loaded(arguments, tmp_path) == BARE[arguments]


@pytest.mark.parametrize("arguments", ASKING)
async def test_a_command_that_asks_the_daemon_loads_only_what_it_needs(
    arguments: str, tmp_path: Path
) -> None:
    async with serving_admin(FullView(listed=[claim_document()], entries=[entry(1)]), tmp_path):
        found = await asyncio.to_thread(loaded, arguments, tmp_path)
    assert found == ASKING[arguments]


def test_a_plugin_is_loaded_when_its_own_command_is_named(tmp_path: Path) -> None:
    found = loaded("lab --help", tmp_path)
    assert {each for each in found if each.startswith("routerd_")} == {"routerd_lab"}


def test_the_help_of_a_group_says_what_its_commands_say() -> None:
    groups = [routerd, *(routerd.get_command(click.Context(routerd), name) for name in COMMANDS)]
    lazy = [group for group in groups if isinstance(group, LazyGroup)]
    assert len(lazy) == 4
    for group in lazy:
        context = click.Context(group)
        for name, (_, line) in group.commands_by_name.items():
            command = group.get_command(context, name)
            assert command is not None
            assert (command.name, line) == (name, command.get_short_help_str(1000))
