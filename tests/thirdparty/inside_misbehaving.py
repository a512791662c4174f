"""The scenarios of `test_misbehaving.py`, run as root of a namespace with the name of one and a `bin`."""

from __future__ import annotations

import json
import os
import re
import sys
from itertools import count
from pathlib import Path

from tests.netns.daemon_world import sh
from tests.thirdparty.join_world import Host, prepare
from tests.thirdparty.misbehaving_world import (
    CLOUD,
    asked,
    behave,
    has,
    refused,
    texts,
    together,
    write,
)


def calls(rr: Host) -> None:
    """Whatever observe, states and a route do, the core's routes go on, and the status names the plugin."""
    numbers = count(1)
    write(rr)
    with rr.daemon():
        rr.until(lambda: rr.ask("status").returncode == 0, "is ready")
        done: list[int] = []

        def goes_on(what: str) -> None:
            done.append(next(numbers))
            write(rr, *done)
            assert rr.ask("reload").returncode == 0
            rr.until(lambda: has(done[-1]), f"makes a route while {what}")

        for call, word, said in (
            ("observe", "exits", "tunnels/odd (plugin misbehaving): unexpected SystemExit(9)"),
            ("observe", "cancels", "tunnels/odd (plugin misbehaving): unexpected CancelledError()"),
            ("observe", "raises", "tunnels/odd (plugin misbehaving): unexpected ZeroDivisionError"),
            ("observe", "lies", "tunnels/odd (plugin misbehaving): unexpected TypeError"),
            ("states", "exits", "transport/odd (plugin misbehaving): states: unexpected SystemExit(9)"),
            ("states", "cancels", "transport/odd (plugin misbehaving): states: unexpected CancelledError()"),
            ("states", "lies", "transport/odd (plugin misbehaving): states: unexpected TypeError"),
            ("states", "hangs", "transport/odd (plugin misbehaving): states: no answer within 3 s"),
        ):
            behave(**{call: word})
            assert rr.ask("retry").returncode == 0
            rr.until(lambda said=said: said in texts(rr), f"says {said}")
            goes_on(said)
            found = rr.json("status")
            assert [each["link"] for each in found["tunnels"]] == ["t1"], found["tunnels"]
            (row,) = [each for each in found["pluginStates"] if each["name"] == "misbehaving"]
            assert said in "\n".join(row["troubles"]), row
            assert "plugin=misbehaving" in rr.log
        # A reading that never ends: the others go on although it has neither answered nor failed.
        behave(observe="hangs")
        assert rr.ask("retry").returncode == 0
        pattern = r"tunnels/odd \(plugin misbehaving\): no answer since (\d+) s \(observe\)"
        rr.until(lambda: re.search(pattern, texts(rr)), "says since when there is no answer")
        failed = rr.log.count("no answer within 30 s")
        goes_on("observe hangs")
        assert rr.log.count("no answer within 30 s") == failed, "the route waited for the deadline"
        # Routes of the admin socket.
        for word, said in (
            ("exits", "unexpected SystemExit(9)"),
            ("lies", "not JSON serializable"),
            ("hangs", "no answer within 10 s"),
        ):
            behave(route=word)
            status, body = asked(rr, "/v1/plugins/misbehaving/word")
            assert status == 502, (word, status, body)
            assert "route GET /word (plugin misbehaving): " in json.loads(body)["error"]
            assert said in json.loads(body)["error"]
        behave()
        assert rr.ask("retry").returncode == 0
        rr.until(lambda: rr.ask("status").returncode == 0, "is ready again by itself")


def deaf(rr: Host) -> None:
    """A reading that ignores its cancellation is left behind and named, and the daemon ends all the same."""
    write(rr, 1)
    behave(observe="deaf", aclose="hangs")
    with rr.daemon():
        rr.until(lambda: has(1), "makes its route beside a plugin that is deaf")
        left = "tunnels/odd: observe (plugin misbehaving): left behind; it ignores its cancellation"
        rr.until(lambda: left in texts(rr), "says what it left behind")
        assert "call.left" in rr.log
        behave(observe="", aclose="deaf")
        assert rr.ask("retry").returncode == 0
        rr.until(lambda: "an earlier call of observe does not end" in texts(rr), "calls no table twice")
    assert "provider.close.failed" in rr.log
    assert "task.left" in rr.log
    assert "tunnels/odd: observe (plugin misbehaving)" in rr.log.partition("task.left")[2]


def ends(rr: Host) -> None:
    """Tasks, threads and a start that misbehave: named, and the process ends within its deadline."""
    write(rr, 1)
    behave(start="exits")
    with rr.daemon():
        said = "transport/odd: start (plugin misbehaving): unexpected SystemExit(9)"
        rr.until(lambda: said in texts(rr), "names a start that leaves the process")
        assert has(1)
        # It is retried, and then leaves behind a task that exits, one that is deaf, and a thread.
        behave(task="exits", own="exits", thread="sleeps", log="floods", aclose="exits")
        rr.until(lambda: "task misbehaving/odd/odd: SystemExit: 9" in texts(rr), "names its task")
        rr.until(
            lambda: "plugin misbehaving: called sys.exit(9) in a task of its own" in texts(rr), "goes on"
        )
        (row,) = [each for each in rr.json("status")["pluginStates"] if each["name"] == "misbehaving"]
        assert row["droppedLogLines"] > 90_000, row
        assert rr.log.count(" flood ") < 2_000
        found = rr.ask("metrics").stdout
        assert (
            f'routerd_plugin_dropped_log_lines_total{{plugin="misbehaving"}} {row["droppedLogLines"]}'
            in found
        )
        assert "routerd_loop_lag_seconds" in found
        write(rr, 1, 2)
        assert rr.ask("reload").returncode == 0
        rr.until(lambda: has(2), "makes routes after all that")
    assert "process.left" in rr.log
    assert "odd thread at" in rr.log.partition("process.left")[2]
    assert "provider.close.failed" in rr.log


def blocks(rr: Host) -> None:
    """A plugin that blocks the loop is named with its frame while it does, and afterwards in the status."""
    write(rr, 1)
    with rr.daemon():
        rr.until(lambda: rr.ask("status").returncode == 0, "is ready")
        behave(observe="blocks")
        assert rr.ask("retry").returncode == 0
        rr.until(lambda: "loop.free" in rr.log, "is free again")
        behave()
        (line,) = [each for each in rr.log.splitlines() if "loop.blocked" in each][:1]
        assert "plugin=misbehaving" in line, line
        assert "routerd_misbehaving/plugin.py" in line, line
        assert "in misbehave" in line, line
        rr.until(lambda: "plugin misbehaving: blocked the event loop for" in texts(rr), "says so")
        assert rr.json("status")["loop"]["longestLagSeconds"] > 1
        assert rr.json("status")["loop"]["blocked"] >= 1


def early(rr: Host) -> None:
    """A plugin that leaves while it is loaded: exit 2 and its name; other commands work."""
    write(rr, 1)
    for place, said in (
        ("import", "plugin misbehaving (routerd-misbehaving 1.0): import failed: SystemExit: 0"),
        ("info", "plugin misbehaving: routerd_plugin_info failed: SystemExit: 0"),
        ("hook", "plugin misbehaving: routerd_transports failed: SystemExit: 0"),
        ("create", "plugin misbehaving: provider odd: `create` failed: SystemExit(0)"),
    ):
        done = refused(rr, MISBEHAVE=place)
        assert done.returncode == 2, (place, done)
        assert said in done.stderr, (place, done.stderr)
        assert not has(1)
    for place in ("import", "info", "hook"):
        done = refused(rr, "plugins", MISBEHAVE=place)
        assert done.returncode == 0, done
        assert "transport ipip" in done.stdout
        assert "SystemExit" in done.stdout
    # The status of a running daemon, and its removal, have no need of the plugin.
    with rr.daemon():
        rr.until(lambda: has(1), "makes its route")
        rr.until(lambda: rr.ask("status").returncode == 0, "is ready")
        assert refused(rr, "status", MISBEHAVE="import").returncode == 0
    assert has(1)
    for place in ("import", "info", "hook", "create"):
        done = refused(rr, "down", MISBEHAVE=place)
        assert done.returncode == 1, done
        assert "not removed: plugin misbehaving" in done.stderr, done.stderr
        assert not has(1)
        assert "t1" not in sh("ip -n rr link"), "the tunnels of the healthy plugin are gone"


def commands(rr: Host) -> None:
    """Commands that run plugins by themselves end, name the plugin, and do what does not need it."""
    write(rr, 1, more=CLOUD)
    silent = json.dumps({"start": "hangs", "aclose": "hangs"})
    deaf = {"observe": "deaf", "aclose": "deaf", "own": "deaf", "task": "deaf", "log": "floods"}
    worst = json.dumps({**deaf, "thread": "sleeps"})
    planned, waited, examined, applied = together(
        rr,
        [
            ("plan", {"MISBEHAVE_CALLS": worst}),
            ("plan", {"MISBEHAVE_CALLS": silent}),
            ("doctor cloud", {"MISBEHAVE_CALLS": json.dumps({"cloud": "deaf", "aclose": "deaf"})}),
            ("apply --once --timeout 20", {"MISBEHAVE_CALLS": worst}),
        ],
    )
    unread = "tunnels/odd (plugin misbehaving): no answer"
    assert unread in planned.stdout, planned
    assert planned.returncode == 2, planned
    assert "forwarding/odd" in planned.stdout, planned
    assert "transport/odd: start (plugin misbehaving): no answer within 30 s" in waited.stdout, waited
    assert waited.returncode == 2, waited
    assert "plugin misbehaving: no answer within 60 s" in examined.stdout, examined
    assert examined.returncode == 1, examined
    assert unread in applied.stderr, applied
    assert applied.returncode == 1, applied
    assert has(1), "apply has made the core's route"
    for done in (planned, applied, examined):
        assert "task.left" in done.stderr, done
        assert "(plugin misbehaving)" in done.stderr.partition("task.left")[2], done
    for done in (planned, applied):
        assert "odd thread at" in done.stderr.partition("process.left")[2], done
        assert done.stderr.count(" flood ") < 2_000
    (removed,) = together(rr, [("down", {"MISBEHAVE_CALLS": worst})])
    assert "not removed: tunnels/odd (plugin misbehaving): no answer within 30 s" in removed.stderr, removed
    assert removed.returncode == 1, removed
    assert not has(1)
    assert "t1" not in sh("ip -n rr link"), "the tunnels of the healthy plugin are gone"
    # A hook does not await anything, and so has no deadline but the command's.
    words = ("validate", "plugins", "plan", "doctor cloud", "apply --once", "down")
    places = [("hangs-import", each) for each in words] + [("hangs-hook", "validate"), ("hangs-hook", "plan")]
    for done in together(rr, [(each, {"MISBEHAVE": place}) for place, each in places]):
        assert done.returncode == 1, done
        assert "process.blocked" in done.stderr, done
        assert "plugin=misbehaving" in done.stderr, done
        assert "plugin.py" in done.stderr, done
    assert not has(1)
    # A thread that the plugin begins while it is imported.
    checked, listed = together(rr, [(each, {"MISBEHAVE": "thread"}) for each in ("validate", "plugins")])
    assert "valid: router rr" in checked.stdout, checked
    assert "transport odd" in listed.stdout, listed
    for done in (checked, listed):
        assert done.returncode == 0, done
        assert "early thread at" in done.stderr.partition("process.left")[2], done


def options(rr: Host) -> None:
    """A reload gives a transport its other options; those of a routing protocol wait for a restart."""

    def answer() -> dict[str, object]:
        found: dict[str, object] = json.loads(asked(rr, "/v1/plugins/misbehaving/word")[1])
        return found

    write(rr, 1)
    with rr.daemon():
        rr.until(lambda: rr.ask("status").returncode == 0, "is ready")
        assert (answer()["word"], answer()["made"]) == ("none", 1)
        # A reading of the provider before is deaf, and its successor is asked all the same.
        behave(observe="deaf")
        assert rr.ask("retry").returncode == 0
        rr.until(lambda: "no answer since" in texts(rr), "waits")
        behave()
        write(rr, 1, 2, word="other")
        done = rr.ask("reload")
        assert done.returncode == 0, done
        rr.until(lambda: (answer()["word"], answer()["made"]) == ("other", 2), "uses the other options")
        rr.until(lambda: has(2), "makes the other route")
        rr.until(lambda: rr.ask("status").returncode == 0, "is ready with the other provider")
        # Keys that nobody asked for are deleted ever more seldom.
        behave(observe="invents")
        assert rr.ask("retry").returncode == 0
        said = "tunnels/odd (plugin misbehaving): (whole table): has other keys at each reading"
        rr.until(lambda: said in texts(rr), "says that the table invents keys")
        first = answer()["deleted"]
        write(rr, 1, 2, 3, word="other")
        assert rr.ask("reload").returncode == 0
        rr.until(lambda: has(3), "goes on")
        assert isinstance(first, int)
        assert first < 20, "deletions without a pause"
        behave()
    os.environ["MISBEHAVE"] = "routing"
    write(rr, 1)
    with rr.daemon():
        rr.until(lambda: rr.ask("status").returncode == 0, "is ready with a routing protocol")
        write(rr, 1, 2, word="other")
        assert rr.ask("reload").returncode == 0
        rr.until(lambda: has(2), "uses the rest of the file")
        said = "plugin misbehaving: its options have changed; restart routerd to use them"
        assert said in texts(rr), texts(rr)
        assert answer()["word"] == "none"
        (row,) = [each for each in rr.json("status")["pluginStates"] if each["name"] == "misbehaving"]
        assert "restart" in row["restart"], row
        write(rr, 1, 2)
        assert rr.ask("reload").returncode == 0
        assert said not in texts(rr)
        # Routes of a wrong type stop where they enter.
        behave(learned="lies")
        rr.until(lambda: "learned (plugin misbehaving): unexpected TypeError" in texts(rr), "names the liar")
        write(rr, 1, 2, 3)
        assert rr.ask("reload").returncode == 0
        rr.until(lambda: has(3), "goes on beside the liar")


def main() -> None:
    """Run one scenario."""
    scenario, place = sys.argv[1:]
    prepare()
    sh("ip -n leaf address show")
    behave()
    rr = Host(name="rr", node="rr", bin=Path(place))
    scenarios = {each.__name__: each for each in (calls, deaf, ends, blocks, early, commands, options)}
    scenarios[scenario](rr)


if __name__ == "__main__":
    main()
