"""The answers of transports about their tunnels: what is wrong becomes one sentence that names the plugin."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import pytest

from routerd.errors import PluginError
from routerd.model.names import LinkName
from routerd.model.tunnel import Opening, Tunnel
from routerd.plugins.tunnel_modes import TunnelMode, checked_key
from routerd.spi import TransportMode

TUNNEL = Tunnel(link=LinkName("t1"), mode="odd", owner="TunnelInterface/t1", mtu=0)


class Answering:
    """Answers both questions with `answer`, or raises it."""

    def __init__(self, answer: Any) -> None:
        self._answer = answer

    def overhead(self, tunnel: Tunnel) -> Any:
        if isinstance(self._answer, BaseException):
            raise self._answer
        return self._answer

    openings = overhead


def mode(answer: Any) -> TunnelMode:
    described = TransportMode(kind="odd", create=lambda *_: object())  # type: ignore[arg-type,return-value]
    return TunnelMode(plugin="transport_odd", described=described, transport=Answering(answer))  # type: ignore[arg-type]


def refusal(ask: Callable[[Tunnel], object]) -> str:
    with pytest.raises(PluginError) as caught:
        ask(TUNNEL)
    return str(caught.value)


@pytest.mark.parametrize("answer", [-1, 925, True, "50", None, 1.5])
def test_an_overhead_is_a_number_of_bytes_that_leaves_room(answer: object) -> None:
    text = refusal(mode(answer).overhead)
    assert text.startswith("transport odd (plugin transport_odd): overhead failed: it returned ")
    assert text.endswith("not 0 to 924 bytes")


def test_a_proper_answer_is_passed_on() -> None:
    assert mode(50).overhead(TUNNEL) == 50
    given = [Opening(protocol="udp", port=4789), Opening(protocol="47")]
    assert mode(given).openings(TUNNEL) == tuple(given)
    assert mode([]).openings(TUNNEL) == ()


@pytest.mark.parametrize(
    "opening",
    [
        Opening(protocol=""),
        Opening(protocol="udp"),
        Opening(protocol="tcp", port=65536),
        Opening(protocol="47", port=1),
        Opening(protocol="0"),
        Opening(protocol="256"),
        Opening(protocol="sctp"),
        Opening(protocol=47),  # type: ignore[arg-type]
        Opening(protocol="udp", port="4789"),  # type: ignore[arg-type]
        "udp",
        None,
    ],
)
def test_an_opening_that_lets_in_too_much_is_refused(opening: object) -> None:
    text = refusal(mode([opening]).openings)
    assert text.startswith("transport odd (plugin transport_odd): openings failed: it returned ")
    assert text.endswith("which is not udp or tcp with a port, or the number of an IP protocol")


def test_openings_are_a_sequence() -> None:
    assert "not a sequence of Opening" in refusal(mode(None).openings)


@pytest.mark.parametrize("error", [ValueError("no VNI"), SystemExit("bye")])
def test_an_exception_stays_with_its_transport(error: BaseException) -> None:
    text = refusal(mode(error).overhead)
    assert text == f"transport odd (plugin transport_odd): overhead failed: {type(error).__name__}: {error}"


def test_a_claim_carries_a_key_of_32_bytes() -> None:
    key = base64.b64encode(b"k" * 32).decode()
    assert checked_key("odd", key) == key


@pytest.mark.parametrize("size", [0, 31, 33, 1184])
def test_a_key_of_another_size_is_refused_in_words(size: int) -> None:
    with pytest.raises(PluginError) as caught:
        checked_key("odd", base64.b64encode(b"k" * size).decode())
    text = str(caught.value)
    assert text.startswith("transport odd: its public key is ")
    assert "characters long" in text
    assert "a claim carries keys of 32 bytes in base64 and no others" in text
