"""Every block of the README and of docs/ runs or says why not; the others are checked as far as possible."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import yaml
from tests.docs.blocks import COMMANDS, LANGUAGES, ROOT, Block, blocks, pages, unlike

from routerd import config
from routerd.cli.main import COMMANDS as ROUTERDS
from routerd.cli.main import routerd
from routerd.plugins.host import PluginHost

BLOCKS = [block for page in pages() for block in blocks(page)]


def of(*languages: str) -> list[Block]:
    found = [block for block in BLOCKS if block.language in languages]
    assert found, f"no block of {languages}"
    return found


def test_every_block_says_what_it_is() -> None:
    assert {str(block): block.language for block in BLOCKS if block.language not in LANGUAGES} == {}


@pytest.mark.parametrize("block", of(*COMMANDS), ids=str)
def test_commands_run_or_the_page_says_why_not(block: Block) -> None:
    assert block.note in {"run", "given", "shown"}, f"{block}: say `run: on=HOST` or `shown: REASON` above it"
    assert block.note != "shown" or len(block.reason.split()) > 2, f"{block}: shown without a reason"


@pytest.mark.parametrize("block", of("text"), ids=str)
def test_no_command_hides_in_a_text(block: Block) -> None:
    commands = re.findall(
        r"^(?:\$ |routerd (?!\w+ ── )|make |systemctl |apt-get |sudo ).*", block.text, re.MULTILINE
    )
    assert commands == []


@pytest.mark.parametrize("block", of("yaml"), ids=str)
def test_yaml_is_right(block: Block, tmp_path: Path) -> None:
    document = yaml.safe_load(block.text)
    if isinstance(document, dict) and document.get("kind") == "Router":
        file = tmp_path / "router.yaml"
        file.write_text(block.text)
        kinds = PluginHost.load(document["plugins"]).resource_kinds()
        assert config.load(file, kinds=kinds).warnings == ()


@pytest.mark.parametrize("block", of("json"), ids=str)
def test_json_can_be_read(block: Block) -> None:
    assert json.loads(block.text)


def _lines(block: Block) -> Iterator[str]:
    for line in re.sub(r"\\\n", " ", block.text).splitlines():
        if block.language == "sh" or line.startswith("$ "):
            yield line.removeprefix("$ ")


def _of_routerd(line: str) -> Iterator[list[str]]:
    """Yield the words of each call of routerd in a line."""
    for part in re.split(r"[;|&(]+", line.partition(" #")[0]):
        if re.match(r"\s*(if )?routerd( |$)", part):
            yield shlex.split(part.partition(" > ")[0])[1:]


def test_pages_call_routerd() -> None:
    assert any(list(_of_routerd(line)) for block in of("sh", "console") for line in _lines(block))


@pytest.mark.parametrize(
    "block", [block for block in of("sh", "console") if "routerd" in block.text], ids=str
)
def test_a_call_of_routerd_names_commands_and_options_that_exist(block: Block) -> None:
    for line in _lines(block):
        for words in _of_routerd(line):
            command: click.Command = routerd
            context = click.Context(command)
            known = {option for param in command.params for option in param.opts}
            for word in words:
                if word.startswith("-"):
                    assert word.partition("=")[0] in known, f"{block}: {line}"
                elif isinstance(command, click.Group) and word != "...":
                    found = command.get_command(context, word)
                    if found is None:
                        continue  # The value of an option.
                    command = found
                    known |= {option for param in command.params for option in param.opts}


def test_every_command_is_executed_by_a_page() -> None:
    called = {
        words[0]
        for block in BLOCKS
        if block.executed
        for line in _lines(block)
        for words in _of_routerd(line)
        if words
    }
    assert set(ROUTERDS) - called == set(ELSEWHERE)


# Commands that no page can execute, each with the test that does.
ELSEWHERE = {
    "apply": "tests/netns/test_daemon.py: it is for hosts without a daemon",
    "actions": "tests/netns/test_cloud_actions.py: the page shows a cloud's own identifiers",
    "doctor": "tests/netns/test_cloud_actions.py",
}


@pytest.mark.parametrize(
    ("stated", "actual"),
    [
        ("NAME  STATE\nleaf1 Approved", "NAME      STATE\nother x\nleaf1     Approved"),
        ("until 2026-06-29T12:00:00Z", "until 2031-01-01T00:00:01Z"),
        ("a ... z", "a (b) z"),
        ("samt04b459b6a6b up 11 s ago", "samt1244cd6798a up 3.5 s ago"),
    ],
)
def test_outputs_that_differ_in_times_and_spaces_are_alike(stated: str, actual: str) -> None:
    assert unlike(stated, actual) == []


@pytest.mark.parametrize(
    ("stated", "actual"),
    [
        ("leaf1 Approved", "leaf1 Pending"),
        ("b\na", "a\nb"),
        ("a\na", "a"),
        ("10.80.1.20/32", "10.80.1.2/32"),
        ("port (1)", "port 1"),
    ],
)
def test_outputs_that_differ_in_what_they_say_are_not_alike(stated: str, actual: str) -> None:
    assert unlike(stated, actual)


def test_pages_are_found() -> None:
    assert ROOT / "docs" / "host.md" in pages()
    assert ROOT / "docs" / "clouds" / "aws.md" in pages()


@pytest.mark.parametrize("block", [block for block in of("sh") if block.note == "shown"], ids=str)
def test_commands_that_are_only_shown_can_be_read_by_a_shell(block: Block) -> None:
    done = subprocess.run(["bash", "-n", "-c", block.text], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
