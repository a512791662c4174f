"""What the doctor says of a cloud: what it found, what is missing, and never a traceback."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
from tests.unit.cli.command_line import Done, routerd
from tests.unit.plugins.plugin_world import World

from routerd.clouds.checkup import chosen, examine
from routerd.process.log import Log
from routerd.runtime.invocation import Command

CLOUD = """
import routerd
from pathlib import Path
from routerd.errors import PermanentError, TransientError
from routerd.model.fabric import Finding
from routerd.spi import Capability, NoOptions, PluginInfo, Provider
from routerd.testing.fakes import FACTS, FakeFabric, FakeWorld

class Cloud(FakeFabric):
    async def start(self):
        %(start)s
    async def instance(self):
        %(instance)s
        return FACTS
    async def aclose(self):
        Path(%(closed)r).write_text("closed")
    async def diagnose(self):
        %(diagnose)s

@routerd.hookimpl
def routerd_plugin_info():
    return PluginInfo(name="cloud", api=(1, 0), summary="a cloud")

@routerd.hookimpl
def routerd_fabrics():
    return [Provider(kind="fake", create=lambda context, options: Cloud(FakeWorld()),
                     capabilities=frozenset(%(capabilities)s))]
"""
FILE = """\
apiVersion: routerd.net/v1alpha1
kind: Router
metadata: {name: here}
plugins: [cloud]
spec:
  resources:
    - apiVersion: hybrid.routerd.net/v1alpha1
      kind: CloudProviderProfile
      metadata: {name: aws}
      spec: {provider: fake}
"""
FINDINGS = """return [
            Finding(subject="ec2:CreateRoute", state="ok"),
            Finding(subject="ec2:DeleteRoute", state="%s", detail="403", remedy="add it to the role"),
        ]"""


@pytest.fixture
def doctor(install: World, tmp_path: Path) -> Callable[..., Done]:
    """Return a function that installs a cloud and asks the doctor about it."""
    closed = tmp_path / "closed"

    def ask(*words: str, diagnoses: bool = True, **bodies: str) -> Done:
        body = {"start": "pass", "instance": "pass", "diagnose": "return []", "closed": str(closed)} | bodies
        capabilities = "{Capability.DIAGNOSES}" if diagnoses else "()"
        install("cloud", CLOUD % {**body, "capabilities": capabilities})
        file = tmp_path / "router.yaml"
        file.write_text(FILE)
        done = routerd("doctor", "cloud", *words, "--config", file)
        assert "Traceback" not in done.out + done.err
        assert done.status == 2 or closed.exists(), "the cloud's connections are let go of"
        return done

    return ask


def test_it_says_who_we_are_and_what_is_allowed(doctor: Any) -> None:
    done = doctor(diagnose=FINDINGS % "ok")
    assert done.status == 0, done
    assert done.out.splitlines() == [
        "aws  cloud fake, mode plan",
        "  instance        instance-1",
        "  interface       nic-1  10.1.0.4  subnet-1  primary  forwarding off",
        "  routes lead to  nic-1",
        "  route tables    table-1",
        "  networks        10.1.0.0/24",
        "  routes to us    0",
        "  ok       ec2:CreateRoute",
        "  ok       ec2:DeleteRoute: 403",
    ]


def test_what_is_missing_comes_with_its_remedy_and_a_status(doctor: Any) -> None:
    done = doctor(diagnose=FINDINGS % "missing")
    assert done.status == 1
    assert done.out.endswith("  missing  ec2:DeleteRoute: 403\n           add it to the role\n")


def test_what_the_cloud_cannot_tell_is_not_missing(doctor: Any) -> None:
    done = doctor(diagnose=FINDINGS % "unknown")
    assert done.status == 0
    assert "  unknown  ec2:DeleteRoute: 403\n           add it to the role" in done.out


def test_a_provider_that_cannot_diagnose_is_said_to_be_one(doctor: Any) -> None:
    done = doctor(diagnoses=False)
    assert done.status == 0
    assert "unknown  permissions: the plugin for fake cannot check them" in done.out


@pytest.mark.parametrize(
    ("step", "subject"), [("start", "metadata service or login"), ("instance", "identity of this instance")]
)
@pytest.mark.parametrize(
    ("body", "words"),
    [
        (
            'raise TransientError("169.254.169.254: connection refused")',
            "169.254.169.254: connection refused",
        ),
        ('raise KeyError("region")', "plugin cloud: unexpected KeyError('region')"),
    ],
)
def test_what_does_not_answer_is_a_finding_and_the_diagnosis_is_asked_all_the_same(
    doctor: Any, step: str, subject: str, body: str, words: str
) -> None:
    done = doctor(**{step: body, "diagnose": FINDINGS % "ok"})
    assert done.status == 1
    assert f"  missing  {subject}: {words}" in done.out
    assert "ok       ec2:CreateRoute" in done.out


def test_a_diagnosis_that_fails_is_a_finding(doctor: Any) -> None:
    done = doctor(diagnose='raise PermanentError("no credentials")')
    assert done.status == 1
    assert "  missing  permissions: no credentials" in done.out


def test_a_cloud_that_does_not_answer_at_all_says_so_once(doctor: Any) -> None:
    done = doctor(diagnose='raise PermanentError("no credentials")', start='raise PermanentError("none")')
    assert done.out.count("missing") == 1


def test_the_document_has_it_all(doctor: Any) -> None:
    (profile,) = json.loads(doctor("--json", diagnose=FINDINGS % "missing").out)["profiles"]
    assert (profile["profile"], profile["healthy"], profile["diagnosed"]) == ("aws", False, True)
    assert profile["nics"][0]["forwarding"] is False
    assert profile["findings"][1]["remedy"] == "add it to the role"


def test_a_profile_that_the_file_does_not_have_is_a_mistake(doctor: Any) -> None:
    done = doctor("oci")
    assert done.status == 2
    assert "no CloudProviderProfile oci; the file has aws" in done.err


async def test_the_cloud_is_told_who_shares_the_site_and_only_our_own_routes_are_counted(
    install: World, tmp_path: Path
) -> None:
    told = 'return [Finding(subject="site", state="ok", detail=" ".join(self._world.routes.others))]'
    body = {"start": "self._world.routes.content.update(ROUTES)", "instance": "pass", "diagnose": told}
    routes = """
from ipaddress import IPv4Network
from routerd.model.fabric import FabricRoute, FabricRouteKey
ROUTES = {
    FabricRouteKey(table="table-1", prefix=IPv4Network(f"10.99.0.{n}/32")): FabricRoute(next_hop=hop)
    for n, hop in enumerate(("nic-1", "nic-1", "nic-b"))
}
"""
    closed = {"closed": str(tmp_path / "closed"), "capabilities": "{Capability.DIAGNOSES}"}
    install("cloud", routes + CLOUD % (body | closed))
    (tmp_path / "router.yaml").write_text(FILE)
    prepared = Command(config=tmp_path / "router.yaml").prepare()
    (profile,) = chosen(prepared, None)
    shared = attrs.evolve(profile, spec=attrs.evolve(profile.spec, takeover_from=("nic-b",)))
    found = await examine(prepared, shared, Log(level="error"))
    assert found.routes == 2
    assert [finding.detail for finding in found.findings] == ["nic-b"]
