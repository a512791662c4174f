"""The daemon and its commands as a user runs them, on this kernel, in a namespace that ends with the test."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.netns, pytest.mark.timeout(900)]

_PREAMBLE = "import os, signal, time\nfrom tests.netns.daemon_world import *\nprepare()\n"
_ROOT = Path(__file__).parents[2]


def _on_a_host(code: str) -> None:
    done = subprocess.run(
        ["unshare", "-Urnmpf", "--mount-proc", "--kill-child", sys.executable, "-c", _PREAMBLE + code],
        capture_output=True,
        text=True,
        timeout=880,
        check=False,
        cwd=_ROOT,
    )
    assert done.returncode == 0, done.stderr


def test_a_plan_changes_nothing_and_names_what_apply_would_do() -> None:
    _on_a_host("""
write(LAN, ROUTE)
before = sh("ip -4 addr; ip route; find /run /var/lib")
done = routerd("plan")
assert done.returncode == 2, done
assert "+ 10.50.0.0/16" in done.stdout and "+ lan0 10.1.0.1/24" in done.stdout, done.stdout
assert sh("ip -4 addr; ip route; find /run /var/lib") == before
done = routerd("apply", "--once")
assert done.returncode == 0, done.stderr
assert "10.50.0.0/16 via 10.1.0.2 dev lan0 proto 147" in routes()
done = routerd("plan")
assert (done.returncode, done.stdout.strip()) == (0, "nothing to change"), done
""")


def test_stopping_leaves_the_data_plane_and_down_removes_only_what_is_ours() -> None:
    _on_a_host("""
sh("ip addr add 10.9.0.1/24 dev lan0; ip route add 10.60.0.0/16 via 10.9.0.2 metric 200")
before = sh("ip -4 addr; ip route; nft list ruleset; iptables-save; sysctl -a -r '^net.ipv4' 2>/dev/null")
write(LAN, ROUTE)
with daemon() as process:
    held = routes()
    done = routerd("down")
    assert done.returncode == 1 and f"process {process.pid}" in done.stderr, done
    assert routes() == held
assert process.returncode == 0
assert routes() == held and not SOCKET.exists()
done = routerd("down")
assert done.returncode == 0 and "removed routes 10.50.0.0/16" in done.stdout, done
after = sh("ip -4 addr; ip route; nft list ruleset; iptables-save; sysctl -a -r '^net.ipv4' 2>/dev/null")
assert after == before, after
""")


def test_a_killed_daemon_is_followed_by_one_that_adopts() -> None:
    _on_a_host("""
write(LAN, ROUTE)
litter = Path("/run/tmp")
litter.mkdir()
os.environ["TMPDIR"] = str(litter)
with daemon() as process:
    monitor = subprocess.Popen(["ip", "-4", "monitor", "route", "address"], stdout=open("/run/monitor", "wb"))
    process.kill()
    process.wait()
assert list(litter.iterdir()) == [], list(litter.iterdir())
with daemon():
    pass
monitor.terminate()
assert Path("/run/monitor").read_text() == "", Path("/run/monitor").read_text()
""")


def test_a_damaged_state_file_is_set_aside_and_removes_nothing() -> None:
    _on_a_host("""
write(LAN, ROUTE, FORWARDING)
with daemon():
    pass
write(LAN, FORWARDING)
database = Path("/var/lib/routerd/routerd.db")
database.write_bytes(b"junk" * 5000)
with daemon(ready=False):
    until(lambda: "state.damaged" in log())
    until(lambda: status()["phase"] != "Starting" and passes() > 0)
    why = str(status()["reasons"])
    assert "the state file was damaged: routerd removes nothing" in why, why
    assert "10.50.0.0/16" in routes(), routes()
    assert any("is set aside as routerd.db.damaged-" in note for note in status()["notes"]), status()["notes"]
    assert "attention" in log()
assert [each.read_bytes() for each in database.parent.glob("*.damaged-*")] == [b"junk" * 5000]
with daemon():
    assert "10.50.0.0/16" not in routes(), routes()
""")


@pytest.mark.parametrize("harm", ["database.write_bytes(b'junk' * 5000)", "database.unlink()"])
def test_a_disk_that_takes_no_writes_keeps_no_router_down_and_removes_nothing(harm: str) -> None:
    _on_a_host(f"""
write(LAN, ROUTE, FORWARDING)
with daemon():
    pass
write(LAN, FORWARDING)
database = Path("/var/lib/routerd/routerd.db")
{harm}
sh("mount -o remount,ro /var/lib")
with daemon(ready=False):
    until(lambda: "state.unwritable" in log())
    until(lambda: status()["phase"] != "Starting" and passes() > 0)
    why = str(status()["reasons"])
    assert "Read-only file system" in why or "cannot be written" in why, why
    assert "removes nothing until" in why, why
    assert "10.50.0.0/16" in routes(), routes()
    sh("mount -o remount,rw /var/lib")
    until(lambda: not any("nothing that must last" in each for each in status()["reasons"]))
    assert "10.50.0.0/16" in routes(), routes()
    assert database.exists()
""")


def test_a_reload_applies_the_new_file_and_a_broken_one_changes_nothing() -> None:
    _on_a_host("""
write(LAN, ROUTE)
with daemon() as process:
    write(LAN, ROUTE.replace("10.50", "10.51"))
    process.send_signal(signal.SIGHUP)
    until(lambda: "10.51.0.0/16" in routes() and "10.50.0.0/16" not in routes())
    write(LAN, ROUTE.replace("via:", "vla:"), LAN)
    process.send_signal(signal.SIGHUP)
    until(lambda: "did you mean via?" in log())
    done = routerd("reload")
    assert done.returncode == 2 and "/run/router.yaml:" in done.stderr and "vla" in done.stderr, done
    assert "10.51.0.0/16" in routes()
    assert status()["phase"] == "Ready"
    write(LAN, plugins="enrollment_token")
    done = routerd("reload")
    assert done.returncode == 2 and "restart" in done.stderr, done
    assert "10.51.0.0/16" in routes()
""")


def test_a_second_daemon_on_the_same_state_is_refused() -> None:
    _on_a_host("""
write(LAN)
with daemon() as process:
    second = subprocess.run([*ROUTERD, "--config", str(CONFIG)], capture_output=True, text=True, timeout=300)
    assert second.returncode == 1 and f"process {process.pid}" in second.stderr, second
    assert status()["phase"] == "Ready"
""")


def test_a_foreign_route_in_the_way_is_named_and_stays_until_its_owner_removes_it() -> None:
    _on_a_host("""
sh("ip addr add 10.9.0.1/24 dev lan0; ip route add 10.50.0.0/16 via 10.9.0.2 metric 200")
write(LAN, ROUTE)
with daemon(ready=False):
    until(lambda: "10.50.0.0/16" in log())
    shown = routerd("status")
    assert shown.returncode == 3, shown
    assert "10.50.0.0/16" in shown.stdout and "not ours" in shown.stdout, shown.stdout
    assert "via 10.9.0.2" in sh("ip route show 10.50.0.0/16")
    sh("ip route del 10.50.0.0/16 via 10.9.0.2 metric 200")
    until(lambda: "10.50.0.0/16 via 10.1.0.2" in routes())
""")


def test_what_the_kernel_does_not_announce_is_seen_by_a_plan_and_mended_by_a_reload() -> None:
    _on_a_host("""
write(LAN, FORWARDING)
setting = Path("/proc/sys/net/ipv4/ip_forward")
with daemon():
    setting.write_text("0")
    done = routerd("plan")
    assert done.returncode == 2 and "net.ipv4.ip_forward" in done.stdout, done
    assert routerd("reload").returncode == 0
    until(lambda: setting.read_text() == "1\\n")
""")


def test_a_strict_device_is_named_with_a_remedy_that_works_and_tunnels_are_loose_by_themselves() -> None:
    _on_a_host("""
def settings():
    return sh("sysctl -a -r '^net.ipv4.conf.*rp_filter' 2>/dev/null")
def asymmetric():
    # Nobody answers: the way back is another one, and this is about the way here.
    before = counters()
    sh("ip netns exec far ping -q -c 1 -W 1 -I 10.77.0.5 10.1.0.1 || true")
    return {name: value - before[name] for name, value in counters().items()}
def counters():
    wanted = ("IcmpInEchos", "TcpExtIPReversePathFilter")
    return {name: int(sh(f"nstat -asz {name}").split(name)[1].split()[0]) for name in wanted}
sh("ip netns add far && ip link add p0 type veth peer name e0 netns far && ip link set p0 master lan0 up")
sh("ip -n far link set e0 up; ip -n far addr add 10.1.0.2/24 dev e0; ip -n far addr add 10.77.0.5/32 dev e0")
sh("sysctl -qw net.ipv4.conf.all.rp_filter=1 net.ipv4.conf.lan0.rp_filter=0")
before = settings()
write(LAN, TUNNEL, plugins="transport_ipip")
with daemon() as process:
    assert "net.ipv4.conf.t1.rp_filter = 2" in settings()
    sh("ip route add 10.77.0.5 dev t1; ip netns exec far ping -q -c 1 -W 5 10.1.0.1")  # it is a neighbour now
    seen = asymmetric()
    assert seen == {"IcmpInEchos": 0, "TcpExtIPReversePathFilter": 1}, seen
    said = "lan0: reverse path filtering is strict (net.ipv4.conf.all.rp_filter is 1"
    shown = routerd("status")
    assert shown.returncode == 0 and said in shown.stdout, shown
    assert "t1: reverse" not in shown.stdout, shown.stdout
    assert said in routerd("get", "Interface/lan", "-o", "json").stdout
    until(lambda: "attention" in log())
    write(LAN, TUNNEL, LOOSE, plugins="transport_ipip")
    assert routerd("reload").returncode == 0
    until(lambda: "net.ipv4.conf.lan0.rp_filter = 2" in settings())
    seen = asymmetric()
    assert seen == {"IcmpInEchos": 1, "TcpExtIPReversePathFilter": 0}, seen
    assert said not in routerd("status").stdout
    assert log().count("lan0: reverse path") == 1, log()
done = routerd("down")
assert done.returncode == 0, done
assert settings() == before, settings()
""")


def test_systemd_is_told_of_readiness_reload_and_end() -> None:
    _on_a_host("""
notifications = listen_for_systemd()
write(LAN)
said = []
def heard(word):
    while word not in said:
        said.extend(notifications.recv(4096).decode().splitlines())
    del said[: said.index(word) + 1]
with daemon() as process:
    heard("READY=1")
    heard("STATUS=Ready")
    process.send_signal(signal.SIGHUP)
    heard("RELOADING=1")
    heard("READY=1")
heard("STOPPING=1")
""")


def test_the_log_is_json_when_asked() -> None:
    _on_a_host("""
write(LAN)
with daemon("--log-format", "json"):
    lines = [json.loads(line) for line in log().splitlines()]
assert {"starting", "address.created"} <= {line["event"] for line in lines}, lines
assert all({"time", "level"} <= line.keys() for line in lines)
""")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("plugins='bgp_ryuu'", ["bgp_ryuu is not installed", "did you mean bgp_ryu?"]),
        ("plugins='bgp_ryu, bgp_ryu'", ["bgp_ryu", "twice"]),
    ],
)
def test_a_daemon_that_may_not_start_touches_nothing(change: str, words: list[str]) -> None:
    _on_a_host(f"""
write(LAN, ROUTE, {change})
before = sh("ip -4 addr; ip route; find /run /var/lib")
done = subprocess.run([*ROUTERD, "--config", str(CONFIG)], capture_output=True, text=True, timeout=300)
assert done.returncode == 2 and "Traceback" not in done.stderr, done
assert all(word in done.stderr for word in {words!r}), done.stderr
assert sh("ip -4 addr; ip route; find /run /var/lib") == before
""")


def test_five_mistakes_are_five_lines_with_file_line_and_field() -> None:
    text = (_ROOT / "tests/unit/config/errors/five-mistakes.yaml").read_text()
    _on_a_host(f"""
CONFIG.write_text({text!r})
done = subprocess.run([*ROUTERD, "--config", str(CONFIG)], capture_output=True, text=True, timeout=300)
assert done.returncode == 2, done
assert done.stderr.count("/run/router.yaml:") == 5, done.stderr
assert "5 problems; nothing was changed" in done.stderr and "Traceback" not in done.stderr, done.stderr
""")


def test_what_a_real_daemon_says_fits_the_published_schema() -> None:
    _on_a_host("""
import json
from tests.unit.cli.command_line import validated
write(LAN, ROUTE, TUNNEL, plugins="transport_ipip")
asked = {
    "status": "Status", "peers": "PeerList", "routes": "RouteList", "get all": "ResourceList",
    "get Interface/lan": "Interface", "explain 10.50.0.1": "Explanation", "plugins --all": "PluginList",
    "validate": "Validation", "actions list": "ActionList",
}
for running in (True, False):
    with daemon() if running else contextlib.nullcontext():
        for command, kind in (asked if running else {"plan": "Plan", "actions list": "ActionList"}).items():
            done = routerd(*command.split(), "-o", "json")
            document = json.loads(done.stdout)
            validated(document)
            assert document["kind"] == kind, (command, document)
""")


def test_commands_without_a_daemon_say_so() -> None:
    _on_a_host("""
write(LAN)
for command in ("status", "routes", "peers", "get all", "reload"):
    done = routerd(*command.split())
    assert done.returncode == 1, (command, done)
    assert "no daemon; the socket does not exist" in done.stderr, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
""")


def test_unprivileged_is_said_in_words() -> None:
    _on_a_host("""
write(LAN)
CONFIG.chmod(0o644)
Path("/var/lib").chmod(0o555)
bare = ["setpriv", "--bounding-set", "-all", "--inh-caps", "-all", *ROUTERD, "--config", str(CONFIG)]
done = subprocess.run(bare, capture_output=True, text=True, timeout=300)
assert done.returncode == 1 and "Traceback" not in done.stderr, done
assert "/var/lib/routerd" in done.stderr and "--state-dir" in done.stderr, done.stderr
""")


def test_somebody_else_is_told_that_only_root_may_ask() -> None:
    _on_a_host("""
write(LAN)
with daemon():
    bare = ["setpriv", "--bounding-set", "-all", "--inh-caps", "-all"]
    for command in ("status", "plan"):
        Path("/run/routerd").chmod(0o000)
        words = [*bare, *ROUTERD, command, "--config", str(CONFIG)]
        done = subprocess.run(words, capture_output=True, text=True)
        assert done.returncode == 1 and "Traceback" not in done.stderr, done
        assert "only root may open it" in done.stderr, done
    Path("/run/routerd").chmod(0o700)
""")
