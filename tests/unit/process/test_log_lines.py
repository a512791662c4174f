"""One event is one line that says all of it, whatever is in the facts; a secret is in none."""

from __future__ import annotations

import io
import json
import socket
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import attrs
import pytest

from routerd.model.claim import Claim
from routerd.model.session import Session
from routerd.process import systemd as notify_module
from routerd.process.log import Format, Log
from routerd.spi import Proof, Signing, Submission


def line(style: Format = "human", /, **facts: Any) -> str:
    stream = io.StringIO()
    log = Log(stream=stream, now=lambda: datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), format=style)
    log.info("e", **facts)
    return stream.getvalue()


@pytest.mark.parametrize(
    "text",
    ["a b", 'a"b', "a=b", "a\nb", "a\rb", "a\tb", "\x1b[2J", "\x9b2J", "a\u2028b", "a\u202eb", "a\x7fb", ""],
)
def test_what_could_be_mistaken_or_moves_the_cursor_is_quoted(text: str) -> None:
    written = line(key=text)
    assert written.endswith("\n")
    body = written[:-1]
    assert body.isprintable()
    assert json.loads(body.partition(" key=")[2]) == text


@pytest.mark.parametrize("text", ["10.0.0.1/32", "größe", "leaf-a", "a:b,c"])
def test_a_plain_word_is_not_quoted(text: str) -> None:
    assert line(key=text).endswith(f" key={text}\n")


@pytest.mark.parametrize("style", ["human", "json"])
def test_a_name_that_is_no_text_does_not_lose_the_line(style: Format, tmp_path: Path) -> None:
    with (tmp_path / "log").open("w", encoding="utf-8") as stream:
        Log(stream=stream, format=style).info("e", file="\udce9.yaml")
    assert "dce9.yaml" in (tmp_path / "log").read_text()


@pytest.mark.parametrize("key", ["event", "time", "level"])
def test_a_fact_never_takes_the_place_of_the_events_own_words(key: str) -> None:
    record = json.loads(line("json", **{key: "x"}))
    assert (record["event"], record["level"], record["time"]) == ("e", "info", "2026-01-02T03:04:05.000Z")
    assert record[f"{key}_"] == "x"


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_a_number_that_json_does_not_know_is_text(number: float) -> None:
    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    assert json.loads(line("json", n=number), parse_constant=refuse)["n"] == str(number)


@attrs.frozen
class Silent:
    def __str__(self) -> str:
        raise ValueError("no words")


@pytest.mark.parametrize("style", ["human", "json"])
def test_a_value_that_cannot_be_written_stops_nothing(style: Format) -> None:
    assert "Silent" in line(style, value=Silent())


def test_a_stack_is_for_developers() -> None:
    stream = io.StringIO()
    with pytest.raises(ValueError, match="v") as caught:
        int("v")
    Log(stream=stream).error("e", trace=caught.value)
    assert "Traceback" not in stream.getvalue()
    Log(stream=stream, level="debug").error("e", trace=caught.value)
    assert "Traceback" in stream.getvalue()


def test_levels_below_the_chosen_one_are_silent() -> None:
    stream = io.StringIO()
    log = Log(stream=stream, level="warning").bind(plugin="x")
    for write in (log.debug, log.info, log.warning, log.error):
        write("e")
    assert [each.split()[1] for each in stream.getvalue().splitlines()] == ["WARN", "ERROR"]


@pytest.mark.parametrize("style", ["human", "json"])
def test_no_secret_of_the_model_is_written(style: Format) -> None:
    claim = Claim(name="c", policy_ref="p", leaf_id="l", tunnel_address="10.0.0.1", join_hmac="hunter2")
    values = (
        claim,
        Submission(claim=claim, proof=Proof.of({"seal": "hunter2"}), secrets=("hunter2",)),
        Signing(claim=claim, secret="hunter2"),
        Proof(join_hmac="hunter2"),
        Session(peer_asn=1, owner="o", password="hunter2"),
    )
    for value in values:
        assert "hunter2" not in line(style, value=value)


class Full(io.StringIO):
    def write(self, text: str) -> int:
        raise OSError(28, "No space left on device")


def test_a_full_disk_stops_nothing() -> None:
    # The rule is that this does not raise.
    Log(stream=Full()).error("e")


def test_a_process_without_descriptors_is_not_stopped_by_its_notification(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def none_left(*_: object) -> socket.socket:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(notify_module.socket, "socket", none_left)
    assert not notify_module.notify("READY=1", {"NOTIFY_SOCKET": "/run/x"})


def test_a_manager_that_does_not_read_holds_up_nobody(tmp_path: Path) -> None:
    path = tmp_path / "n"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        sent = [notify_module.notify("x" * 1000, {"NOTIFY_SOCKET": str(path)}) for _ in range(2000)]
    assert sent[0]
    assert not sent[-1]


def test_an_abstract_socket_is_heard_too(tmp_path: Path) -> None:
    name = f"routerd-test-{tmp_path.name}-{id(tmp_path)}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + name)
        manager.settimeout(5)
        assert notify_module.notify("READY=1", {"NOTIFY_SOCKET": "@" + name})
        assert manager.recv(100) == b"READY=1"
