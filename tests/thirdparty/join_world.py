"""A reflector and a leaf, each a real daemon of a clean environment in a network namespace of its own.

Not a test: `inside_join_method.py` uses it as root of a user namespace, with the interpreter of the test run;
the daemons run by the environment whose `bin` is given.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs
from tests.netns.daemon_world import sh
from tests.support.waiting import until

REFLECTOR, LEAF = "203.0.113.1", "203.0.113.11"
URL = f"http://{REFLECTOR}:65432"
AUDIENCE = "my-fabric"

_HEAD = """\
apiVersion: routerd.net/v1alpha1
kind: Router
metadata: {{name: {name}}}
plugins: [{plugins}]
spec:
  resources:
    - apiVersion: net.routerd.net/v1alpha1
      kind: Interface
      metadata: {{name: wan}}
      spec: {{ifname: wan0, managed: false}}
"""
LISTENER = f"""\
    - apiVersion: system.routerd.net/v1alpha1
      kind: ControlAPI
      metadata: {{name: api}}
      spec: {{listenAddress: {REFLECTOR}, port: 65432, allowCIDRs: [203.0.113.0/24]}}
"""
REFLECTORS = f"""\
    - apiVersion: mobility.routerd.net/v1alpha1
      kind: SAMNodeSet
      metadata: {{name: nodes}}
      spec:
        nodes:
          - {{nodeRef: rr, routeReflector: true, samEndpoint: {REFLECTOR}}}
"""


def profile(local: str, source: str) -> str:
    """Return the profile that makes plain tunnels from `local` to the peers of a source."""
    return f"""\
    - apiVersion: mobility.routerd.net/v1alpha1
      kind: SAMTransportProfile
      metadata: {{name: fabric}}
      spec:
        mode: ipip
        encryption: none
        innerPrefix: 10.255.0.0/20
        addressingMode: pair-stable
        underlayInterface: wan
        localEndpoint: {local}
        peersFrom: [{{resource: {source}}}]
"""


def policy(name: str, number: int, *lines: str) -> str:
    """Return a policy with the fields of its join method as `lines`."""
    more = "".join(f"        {line}\n" for line in lines)
    return f"""\
    - apiVersion: mobility.routerd.net/v1alpha1
      kind: SAMEnrollmentPolicy
      metadata: {{name: {name}}}
      spec:
        transportProfileRef: SAMTransportProfile/fabric
        rrSetRef: SAMRRSet/{name}
        rrNodeSetRef: SAMNodeSet/nodes
        tunnelAddressPrefixes: [10.254.{number}.0/24]
        mobilityPrefixes: [10.80.0.0/16]
        joinAudience: {AUDIENCE}
        ttl: 24h
{more}"""


def claim(name: str, policy_name: str, number: int, *lines: str) -> str:
    """Return a claim under a policy and its client, with the fields of its join method as `lines`."""
    more = "".join(f"        {line}\n" for line in lines)
    return f"""\
    - apiVersion: mobility.routerd.net/v1alpha1
      kind: SAMEnrollmentClaim
      metadata: {{name: {name}}}
      spec:
        policyRef: SAMEnrollmentPolicy/{policy_name}
        rrSetRef: SAMRRSet/{policy_name}
        leafID: {name}
        joinAudience: {AUDIENCE}
        tunnelAddress: 10.254.{number}.2
        endpoint: 203.0.113.{10 + number}
        mobility: {{ownedAddresses: [10.80.{number}.1/32]}}
    - apiVersion: mobility.routerd.net/v1alpha1
      kind: SAMEnrollmentClient
      metadata: {{name: {name}}}
      spec:
        claimRef: SAMEnrollmentClaim/{name}
        bootstrapEndpoints: ["{URL}"]
        retryBackoff: {{min: 1s, max: 2s}}
{more}"""


def prepare() -> None:
    """Make the two hosts and the wire between them."""
    for place in ("/run", "/var/lib"):
        sh(f"mount -t tmpfs tmpfs {place}")
    sh("ip link set lo up; ip netns add rr; ip netns add leaf")
    sh("ip link add wan0 netns rr type veth peer name wan0 netns leaf")
    for name, address in (("rr", REFLECTOR), ("leaf", LEAF)):
        sh(f"ip -n {name} link set lo up; ip -n {name} link set wan0 up")
        sh(f"ip -n {name} address add {address}/24 dev wan0")


@attrs.define(kw_only=True)
class Host:
    """One of the two hosts, its name in the fabric, and its daemon."""

    name: str
    node: str
    bin: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def config(self) -> Path:
        return Path(f"/run/{self.name}.yaml")

    @property
    def log(self) -> str:
        return Path(f"/run/{self.name}.log").read_text()

    def write(self, *parts: str, plugins: Sequence[str]) -> None:
        """Write the configuration file."""
        self.config.write_text(_HEAD.format(name=self.node, plugins=", ".join(plugins)) + "".join(parts))

    def words(self, *words: str) -> list[str]:
        """Return the command of a program of the environment on this host."""
        places = ["--state-dir", f"/var/lib/{self.name}", "--run-dir", f"/run/{self.name}.d"]
        routerd = [str(self.bin / "routerd"), "--config", str(self.config), *places]
        return ["ip", "netns", "exec", self.name, *routerd, *words]

    def ask(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(self.words(*words), capture_output=True, text=True, check=False, timeout=300)

    def json(self, *words: str) -> dict[str, Any]:
        """Return the document that a command prints."""
        done = self.ask(*words, "-o", "json")
        assert done.stdout, f"{words}: {done.stderr}"
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def up(self) -> bool:
        """Say whether the daemon answers."""
        assert self.process is not None
        assert self.process.poll() is None, self.log
        return self.ask("status", "-o", "json").returncode in (0, 3)

    def until(self, holds: Any, what: str) -> None:
        """Wait; the log says what happened when it never comes."""
        until(holds, f"{self.name}: {what}", more=lambda: self.log)

    @contextlib.contextmanager
    def daemon(self) -> Iterator[subprocess.Popen[bytes]]:
        """Run the daemon to the end of the block, which must be the end of its process."""
        with Path(f"/run/{self.name}.log").open("ab") as log:
            self.process = process = subprocess.Popen(self.words(), stdout=log, stderr=log)
        try:
            self.until(self.up, "answers")
            yield process
            assert process.poll() is None, f"{self.name} is gone: {self.log}"
            began = time.monotonic()
            process.terminate()
            assert process.wait(60) == 0, self.log
            assert time.monotonic() - began < 40, self.log
        finally:
            process.kill()
            process.wait()

    def membership(self, name: str) -> dict[str, Any]:
        """Return the enrollment of a client of this leaf."""
        found = self.json("status")["enrollment"]
        return next(each for each in found if each["name"] == f"SAMEnrollmentClient/{name}")

    def accepted(self, name: str) -> bool:
        """Say whether the reflector accepted the claim of a client of this leaf."""
        return bool(self.membership(name)["endpoints"][0]["accepted"])
