"""The speaker's timers: they call when they are due, and leave nothing in the hub."""

from __future__ import annotations

import json
import subprocess
import sys

SCRIPT = """
import json, time, eventlet
from eventlet import hubs
from routerd_bgp_ryu.child.timers import Timer
hub, calls = hubs.get_hub(), []
def waiting():
    eventlet.sleep(0)
    return sum(not timer.called for _, timer in [*hub.timers, *hub.next_timers])
start, before = time.monotonic(), waiting()
timer = Timer(lambda *given: calls.append((time.monotonic() - start, given)), "x")
timer.start(0.1, now=False)
for _ in range(5000):
    timer.reset()
put_off = waiting() - before
while len(calls) < 3:
    eventlet.sleep(0.01)
timer.stop()
stopped, count = waiting() - before, len(calls)
eventlet.sleep(0.3)
quiet = len(calls) == count
timer.start(30)
while len(calls) == count:
    eventlet.sleep(0.01)
many = [Timer(print) for _ in range(3000)]
for each in many:
    each.start(90, now=False)
    each.stop()
print(json.dumps({
    "times": [at for at, _ in calls], "given": calls[0][1], "put_off": put_off, "stopped": stopped,
    "quiet": quiet, "left": len(hub.timers) + len(hub.next_timers),
}))
"""


def test_timers_call_when_due_and_leave_nothing_behind() -> None:
    """In a process of its own, as the hub does not belong into this one."""
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRIPT], capture_output=True, text=True, timeout=60, check=True
    )
    said = json.loads(ran.stdout)
    first, second, third, *_ = said["times"]
    assert 0.1 <= first < second < third
    assert second - first >= 0.09
    assert said["given"] == ["x"]
    assert said["put_off"] == 1, "putting it off costs nothing"
    assert said["stopped"] == 0
    assert said["quiet"]
    assert said["left"] < 2000, "what was stopped is cleared away"
