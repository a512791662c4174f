"""Another transport or join method takes the place of the one in the examples, wherever that stands."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from routerd.errors import PluginError
from routerd.spi import JoinEnd, JoinMethod, JoinTrial, TransportMode
from routerd_lab import exchange
from routerd_lab.exchange import Installed, Offer, exchanged
from routerd_lab.routers import from_examples
from routerd_lab.topology import FULLMESH, MIXED

LEAVES = ["aws-leaf", "azure-leaf", "oci-leaf", "pve-leaf"]


def nothing(*_: object) -> Any:
    raise AssertionError("the lab makes no provider")


def plugin(name: str, *, transports: Sequence[str] = (), methods: Sequence[JoinMethod] = ()) -> Offer:
    return Offer(
        plugin=name,
        transports=tuple(TransportMode(kind=kind, create=nothing) for kind in transports),
        enrollments=tuple(methods),
        more=name.startswith("cloud_"),
    )


def method(kind: str, trial: Any = None, **fields: Any) -> JoinMethod:
    return JoinMethod(kind=kind, create=nothing, binds_claim=True, trial=trial, **fields)


def keys(leaves: Sequence[str], directory: Path) -> JoinTrial:
    return JoinTrial(
        policy=JoinEnd(options={"known": list(leaves)}),
        clients={
            leaf: JoinEnd(options={"file": str(directory / "k")}, files={"k": leaf.encode()})
            for leaf in leaves
        },
    )


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Install the built-in plugins that matter here, and those of strangers."""
    found = (
        plugin("transport_ipip", transports=["ipip", "fou", "gre"]),
        plugin("transport_wireguard", transports=["wireguard"]),
        plugin("enrollment_token", methods=[method("token", shared_secret=True)]),
        plugin("strange_wire", transports=["string"]),
        plugin(
            "strange_doors", methods=[method("keys", keys), method("open"), method("pin", shared_secret=True)]
        ),
        plugin("twin_a", transports=["twin"]),
        plugin("twin_b", transports=["twin"]),
        plugin("cloud_aws", transports=["x-aws"]),
    )
    faults = ("plugin broken cannot be asked: SystemExit: 3",)
    monkeypatch.setattr(Installed, "read", lambda: Installed(offers=found, faults=faults))


def documents(topology: Any = FULLMESH, **names: str) -> dict[str, Any]:
    files = exchanged(from_examples(topology), **{"transport": "", "join": "", **names})
    return {name: yaml.safe_load(each.config) for name, each in files.items()}


def specs(document: Any, kind: str) -> list[dict[str, Any]]:
    return [each["spec"] for each in document["spec"]["resources"] if each["kind"] == kind]


def test_without_a_name_the_examples_stay_as_they_are() -> None:
    files = from_examples(FULLMESH)
    assert exchanged(files, transport="", join="") == files


def test_a_transport_replaces_that_inside_of_the_encrypting_one_and_its_plugin() -> None:
    for document in documents(transport="string").values():
        (profile,) = specs(document, "SAMTransportProfile")
        assert (profile["mode"], profile["encryption"]) == ("string", "wireguard")
        assert "strange_wire" in document["plugins"]
        assert {"transport_wireguard", "enrollment_token", "bgp_ryu"} <= set(document["plugins"])
        assert "transport_ipip" not in document["plugins"]
    assert "cloud_aws" in documents(transport="string")["aws-leaf"]["plugins"]


def test_other_tunnels_keep_their_mode_and_their_plugin() -> None:
    found = documents(MIXED, transport="string")["routerd-fullmesh-rr"]
    assert sorted(each["mode"] for each in specs(found, "SAMTransportProfile")) == ["fou", "gre", "string"]
    assert {"transport_ipip", "strange_wire"} <= set(found["plugins"])


def test_a_join_method_gets_its_own_keys_and_no_token() -> None:
    files = exchanged(from_examples(FULLMESH), transport="", join="keys")
    reflector = yaml.safe_load(files["routerd-fullmesh-rr"].config)
    (policy,) = specs(reflector, "SAMEnrollmentPolicy")
    assert (policy["joinMethod"], policy["joinOptions"]) == ("keys", {"known": LEAVES})
    assert files["routerd-fullmesh-rr"].secrets == {}
    for leaf in LEAVES:
        document = yaml.safe_load(files[leaf].config)
        (client,) = specs(document, "SAMEnrollmentClient")
        assert client["joinOptions"] == {"file": "/etc/routerd/secrets/k"}
        assert "joinTokenFrom" not in client
        assert files[leaf].secrets == {"k": leaf.encode()}
        assert "strange_doors" in document["plugins"]
        assert "enrollment_token" not in document["plugins"]
        assert repr(leaf.encode()) not in repr(files[leaf])


def test_a_method_with_a_shared_secret_keeps_the_token_and_one_without_keys_has_no_options() -> None:
    for name, has_token in (("pin", True), ("open", False)):
        (client,) = specs(documents(join=name)["aws-leaf"], "SAMEnrollmentClient")
        assert client["joinMethod"] == name
        assert ("joinTokenFrom" in client, "joinOptions" in client) == (has_token, False)


def test_an_unknown_name_lists_what_is_installed_with_its_plugin_and_what_is_broken() -> None:
    with pytest.raises(PluginError) as failed:
        documents(transport="nobodys")
    told = str(failed.value)
    assert told.startswith(
        "transport nobodys: no installed plugin provides it (installed: ipip by transport_ipip"
    )
    assert "string by strange_wire" in told
    assert "plugin broken cannot be asked" in told
    with pytest.raises(PluginError, match=r"join method string: no installed .* keys by strange_doors"):
        documents(join="string")


def test_two_plugins_for_one_name_are_named() -> None:
    with pytest.raises(PluginError, match="transport twin: twin_a and twin_b provide it; uninstall one"):
        documents(transport="twin")


def leaves_the_process(*_: object) -> JoinTrial:
    raise SystemExit(3)


def named(name: str) -> Any:
    end = JoinEnd(files={name: b""})
    return lambda leaves, _: JoinTrial(policy=JoinEnd(), clients=dict.fromkeys(leaves, end))


@pytest.mark.parametrize(
    ("trial", "words"),
    [
        (leaves_the_process, "SystemExit: 3"),
        (lambda *_: None, "it returned a NoneType, not a JoinTrial"),
        (lambda *_: JoinTrial(policy=JoinEnd(), clients={}), "it made nothing for leaf aws-leaf"),
        (named("../key"), "'../key' is not a free name of a file"),
        (named("join-token"), "'join-token' is not a free name of a file"),
    ],
)
def test_a_method_that_makes_no_keys_is_named(
    monkeypatch: pytest.MonkeyPatch, trial: Any, words: str
) -> None:
    found = (plugin("odd", methods=[method("odd", trial)]),)
    monkeypatch.setattr(Installed, "read", lambda: Installed(offers=found, faults=()))
    with pytest.raises(PluginError, match=r"join method odd \(plugin odd\): trial failed: ") as failed:
        documents(join="odd")
    assert words in str(failed.value)


def test_every_installed_plugin_is_asked_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    found = exchange.Installed.read()
    assert found.provider_of("transports", "ipip").plugin == "transport_ipip"
    assert found.faults == ()
