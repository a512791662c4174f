"""The scenario of `test_fabric_names.py`, run as root of a namespace with a `bin`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.netns.daemon_world import sh
from tests.thirdparty.join_world import LISTENER, REFLECTOR, REFLECTORS, Host, claim, policy, prepare, profile

FILE, OTHER = Path("/run/fabric/hosts"), Path("/run/fabric/others")


def hosts(file: Path = FILE, domain: str = "x.test") -> str:
    """Return the resource of the plugin."""
    return f"""\
    - apiVersion: names.example.net/v1
      kind: HostsFile
      metadata: {{name: fabric}}
      spec: {{file: {file}, domain: {domain}, names: {{printer: 10.83.10.7}}}}
"""


RR = (
    LISTENER,
    REFLECTORS,
    profile(REFLECTOR, "SAMEnrollmentPolicy/open"),
    policy("open", 1, "joinMethod: none"),
)
PLUGINS = ("transport_ipip", "fabric_names")


def lines(file: Path = FILE) -> list[str]:
    """Return the lines of a file without its mark."""
    return file.read_text().splitlines()[1:] if file.exists() else []


def main() -> None:
    """A stranger's subsystem follows admissions, is planned, explained, taken over and removed."""
    prepare()
    place = Path(sys.argv[1])
    rr, leaf = (Host(name=name, node=name, bin=place) for name in ("rr", "leaf"))
    rr.write(*RR, hosts(), plugins=PLUGINS)
    wrong = rr.config.read_text()
    rr.config.write_text(wrong.replace("domain: x.test", "domain: a b"))
    done = rr.ask("validate")
    assert done.returncode == 2, done
    number = 1 + wrong.splitlines().index(hosts().splitlines()[3])
    assert f'rr.yaml:{number}: HostsFile/fabric spec.domain: "a b" is not the name' in done.stderr, done
    rr.config.write_text(wrong)

    leaf.write(
        profile("203.0.113.11", "SAMRRSet/open"),
        claim("leaf", "open", 1, "joinMethod: none"),
        plugins=["transport_ipip"],
    )
    with rr.daemon(), leaf.daemon():
        rr.until(lambda: "10.80.1.1 leaf.x.test" in lines(), "names the leaf")
        (state,) = rr.json("status")["subsystems"]
        assert (state["subsystem"], state["plugin"], state["text"]) == ("names", "fabric_names", "2 names")
        assert "2 names" in rr.ask("status").stdout
        found = rr.json("explain", "10.80.1.2", "10.80.1.1", "--by", "tcp/22")
        assert "10.80.1.1 is leaf.x.test" in [step["text"] for step in found["steps"]], found
        assert found["source"] == "10.80.1.2"

        # Somebody else's hand is mended, and a file that is not ours is left alone and named.
        FILE.write_text(FILE.read_text().replace("10.80.1.1", "192.0.2.1"))
        assert rr.ask("retry").returncode == 0
        rr.until(lambda: "10.80.1.1 leaf.x.test" in lines(), "mends it")
        OTHER.write_text("127.0.0.1 localhost\n")
        rr.config.write_text(wrong.replace(str(FILE), str(OTHER)))
        plan = rr.json("plan")
        kept = {(each["table"], each["verb"]) for each in plan["changes"]}
        assert kept >= {("names/lines", "create"), ("names/lines", "delete")}, plan
        assert rr.ask("reload").returncode == 0
        rr.until(
            lambda: f"{OTHER}: exists and is not ours" in rr.ask("status").stdout, "names what is foreign"
        )
        assert OTHER.read_text() == "127.0.0.1 localhost\n"
        assert not FILE.exists()
        rr.config.write_text(wrong)
        assert rr.ask("reload").returncode == 0
        rr.until(lambda: "10.80.1.1 leaf.x.test" in lines(), "has its file again")

        # What a plugin finds wrong keeps the old file in force.
        rr.config.write_text(wrong.replace("domain: x.test", "domain: a b"))
        done = rr.ask("reload")
        assert done.returncode == 2, done
        assert "is not the name of a domain" in done.stderr, done
        assert "10.80.1.1 leaf.x.test" in lines()
        rr.config.write_text(wrong)

        answer = sh(
            "curl -s --unix-socket /run/rr.d/routerd.sock "
            "'http://x/v1/plugins/fabric_names/lookup?name=leaf.x.test'"
        )
        assert json.loads(answer) == {"leaf.x.test": ["10.80.1.1"]}, answer

    # The next process finds what the last one left, and changes nothing of it.
    before = FILE.stat().st_mtime_ns
    with rr.daemon():
        rr.until(lambda: "names/lines" in str(rr.json("status")["tables"]), "reads the table")
        rr.until(
            lambda: all(each["inSync"] == each["desired"] for each in rr.json("status")["tables"]), "settles"
        )
        assert FILE.stat().st_mtime_ns == before
    done = rr.ask("down")
    assert done.returncode == 0, done
    assert "removed names/lines" in done.stdout, done
    assert not FILE.exists()


if __name__ == "__main__":
    main()
