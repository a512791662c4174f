"""Whatever the library raises at what it is given, the session is whole or over; a library that raises."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from routerd_bgp_ryu.testing.raw import USUAL, update

# Each test is a process with the library in it.
pytestmark = pytest.mark.live

SCRIPT = """
import json, socket, sys, logging
from ipaddress import IPv4Address
from types import SimpleNamespace as Thing
import eventlet
from eventlet.green import socket as green
from routerd_bgp_ryu.child import reader as module
from routerd_bgp_ryu.child.reader import Farewells, Reader
from routerd_bgp_ryu.screen import Terms
from routerd_bgp_ryu.testing.raw import *

logging.disable()
failing = json.loads(sys.argv[1])

class BgpExc(Exception):
    CODE, SUB_CODE = 5, 9

kinds = {"KeyError": KeyError, "BgpExc": BgpExc, "OSError": OSError, "AssertionError": AssertionError}
handled, told = [], []

class Message:
    @staticmethod
    def parser(said):
        kind = failing.pop(0) if failing else None
        if kind:
            raise kinds[kind]("on purpose")
        return said, None, b""

class Watch:
    def terms(self, protocol):
        one, two = IPv4Address(1), IPv4Address(2)
        return Terms(asn=64577, peer_asn=64577, router_id=one, cluster_id=one, local=two)
    def screened(self, peer, verdict):
        told.append([verdict.worst.text if verdict.worst else "", len(verdict.withdrawn)])
    def complete(self, peer):
        told.append("complete")
    def failed(self, peer, fault, *, bound):
        told.append([fault.code, bound])

ours, theirs = green.socketpair()
protocol = Thing(
    _socket=ours, _peer=Thing(state=Thing(bgp_state="Established")), _is_bound=True, started=True,
    _expiry=None, cap_four_octet_as_number=True, _remotename=("192.0.2.1", "179"),
    _handle_msg=handled.append,
)
module.packet = Thing(BGPMessage=Message, BgpExc=BgpExc)
reader = Reader(protocol, Watch(), Watch(), Farewells())
raised = ""
if len(sys.argv) > 2:
    lost = []
    protocol.connection_lost = lost.append
    if sys.argv[2] == "broken":
        Reader._judged = lambda reader, message: 1 // 0
    if sys.argv[2] == "many":
        reader._farewells = Farewells(most=1)
        one, two = green.socketpair()
        reader._farewells.say(one, Thing(code=(3, 1), data=b""))
        theirs.sendall(bytes(19))
        reader.run()
        print(json.dumps({"heard": [len(two.recv(4096)), len(theirs.recv(4096))]}))
        sys.exit()
    theirs.sendall(update(USUAL, "10.88.1.1/32"))
    theirs.close()
    reader.run()
    print(json.dumps({"handled": len(handled), "lost": lost, "closed": ours.fileno() < 0}))
    sys.exit()
try:
    reader(update(USUAL, "10.88.1.1/32", withdrawn=("10.88.2.0/24",)) + update(USUAL, "10.88.3.0/24"))
except OSError as error:
    raised = type(error).__name__
heard = b""
if raised:
    if ours.fileno() >= 0:
        ours.close()
    while more := theirs.recv(4096):
        heard += more
passed = [each.hex() for each in handled]
print(json.dumps({"handled": passed, "told": told, "raised": raised, "heard": heard.hex()}))
"""


def ran(*failing: str | None, whole: str = "") -> dict[str, object]:
    """Give two UPDATEs to a library that raises at the first of its calls, and look at what comes of it.

    Or, when `whole`, let the reader read one by itself from a connection that ends then. In a process
    of its own, as eventlet does not belong into this one.
    """
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT, json.dumps(failing), *([whole] if whole else [])]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stderr
    said: dict[str, object] = json.loads(result.stdout)
    return said


def test_a_library_that_raises_nothing_gets_both() -> None:
    said = ran()
    assert len(said["handled"]) == 2  # type: ignore[arg-type]  # a list
    assert (said["raised"], said["told"]) == ("", [["", 0], ["", 0]])


SAID = {"KeyError": "KeyError: 'on purpose'", "AssertionError": "AssertionError: on purpose"}


@pytest.mark.parametrize("error", SAID)
def test_an_update_that_the_library_cannot_handle_is_a_withdrawal_and_the_session_goes_on(error: str) -> None:
    said = ran(error)
    withdrawn = update(withdrawn=("10.88.2.0/24", "10.88.1.1/32"))
    assert said["handled"] == [withdrawn.hex(), update(USUAL, "10.88.3.0/24").hex()]
    assert [f"the speaker cannot handle it ({SAID[error]})", 1] in said["told"]  # type: ignore[operator]  # a list
    assert (said["raised"], said["heard"]) == ("", "")


def test_when_even_that_fails_the_session_ends() -> None:
    said = ran("KeyError", "KeyError")
    assert said["handled"] == []
    assert [[3, 0], True] in said["told"]  # type: ignore[operator]  # a list
    assert said["raised"] == "ConnectionAbortedError"
    assert said["heard"] == "ff" * 16 + "0015030300"


def test_an_error_of_bgp_ends_the_session_with_its_code() -> None:
    said = ran("BgpExc")
    assert (said["raised"], said["heard"]) == ("ConnectionAbortedError", "ff" * 16 + "0015030509")


def test_a_broken_connection_is_one() -> None:
    said = ran("OSError")
    assert (said["handled"], said["raised"], said["heard"]) == ([], "OSError", "")


@pytest.mark.parametrize(
    ("whole", "handled", "reason"),
    [
        ("fine", 1, "Peer closed connection"),
        ("broken", 0, "ZeroDivisionError: integer division or modulo by zero"),
    ],
)
def test_a_reader_that_ends_leaves_nothing_open(whole: str, handled: int, reason: str) -> None:
    assert ran(whole=whole) == {"handled": handled, "lost": [reason], "closed": True}


def test_only_so_many_goodbyes_are_said_at_once() -> None:
    """The one that is under way has its NOTIFICATION; the next is closed at once."""
    assert ran(whole="many") == {"heard": [21, 0]}
