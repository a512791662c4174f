"""A new neighbour is dialed at once, and only then at the pace of the library."""

from __future__ import annotations

import json
import subprocess
import sys

SCRIPT = """
import json, os
os.environ["OSKEN_HUB_TYPE"] = "eventlet"
import eventlet
eventlet.monkey_patch()
from os_ken.services.protocols.bgp import base, constants, peer
from routerd_bgp_ryu.child.neighbour import Neighbour
rests, dials = [], []
class Enough(Exception): pass
def rest(self, seconds=0):
    rests.append(seconds)
base.Activity.pause = rest
class Stub(Neighbour):
    def __init__(self):
        self._connect_retry_event = eventlet.event.Event()
        self._connect_retry_event.wait = self._connect_retry_event.set = lambda: None
        self._neigh_conf = type("N", (), dict(enabled=True, host_bind_ip=None, host_bind_port=None,
                                 ip_address="192.0.2.1", port=179, password=None))()
        self._connect_retry_event.is_set = lambda: True
        self._common_conf = type("C", (), dict(tcp_conn_timeout=5, bgp_conn_retry_time=30))()
        self.state = type("S", (), dict(bgp_state=constants.BGP_FSM_IDLE))()
    def _connect_tcp(self, *_, **__):
        dials.append(list(rests))
        rests.clear()
        if len(dials) == 4:
            raise Enough
        raise OSError
try:
    Stub()._connect_loop(None)
except Enough:
    print(json.dumps(dials))
"""


def test_the_first_attempt_waits_for_nothing_and_the_second_comes_after_a_second() -> None:
    """In a process of its own, as the library's hub does not belong into this one."""
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRIPT], capture_output=True, text=True, timeout=60, check=True
    )
    assert json.loads(ran.stdout) == [[0], [0, 1.0], [30, 1.0], [30, 1.0]]
