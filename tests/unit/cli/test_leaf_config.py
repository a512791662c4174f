"""A leaf's file from a few options: complete, right, private, and what is not right is said."""

from __future__ import annotations

import stat
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.unit.cli.command_line import routerd
from tests.unit.cli.leaf_world import KEY, OPTIONS, WIREGUARD, leaf_config

from routerd.plugins import installed
from routerd.spi import ENTRY_POINT_GROUP

TOKEN = "/etc/routerd/secrets/join-token"


def parts(text: str) -> dict[str, Any]:
    document = yaml.safe_load(text)
    return {
        f"{each['kind']}/{each['metadata']['name']}": each["spec"] for each in document["spec"]["resources"]
    }


@pytest.mark.parametrize("mode", ["ipip", "fou", "gre"])
@pytest.mark.parametrize("encryption", ["none", "wireguard"])
@pytest.mark.parametrize("more", [(), ("--owned-address", "10.80.1.20,10.80.1.21", "--on-loopback")], ids=len)
def test_a_file_of_every_mode_is_right(
    mode: str, encryption: str, more: tuple[str, ...], tmp_path: Path
) -> None:
    file = tmp_path / "leaf.yaml"
    changed = {**WIREGUARD, "encryption": encryption, "mode": mode, "secret-file": TOKEN}
    made = leaf_config("-o", file, *more, **changed)
    assert (made.status, made.out) == (0, "")
    assert made.err == f"{file}: written; next: routerd validate --config {file}\n"
    checked = routerd("validate", "--config", file)
    assert (checked.status, checked.err) == (0, "")
    assert "valid: router leaf1" in checked.out


def test_few_options_make_a_whole_leaf() -> None:
    made = leaf_config(secret_file=TOKEN)
    assert (made.status, made.err) == (0, "")
    found = parts(made.out)
    assert set(found) == {
        *("Interface/private-wan", "IPv4StaticAddress/private-wan-ipv4", "BGPRouter/mobility-bgp"),
        *("SAMTransportProfile/leaf1", "SAMEnrollmentClaim/leaf1", "SAMEnrollmentClient/leaf1"),
    }
    profile = found["SAMTransportProfile/leaf1"]
    assert (profile["mode"], profile["encapSport"], profile["encapDport"]) == ("fou", 5555, 5555)
    assert profile["localEndpoint"] == found["SAMEnrollmentClaim/leaf1"]["endpoint"] == "203.0.113.11"
    assert found["BGPRouter/mobility-bgp"]["routerID"] == "10.255.16.11"
    assert found["SAMEnrollmentClient/leaf1"] == {
        "claimRef": "SAMEnrollmentClaim/leaf1",
        "bootstrapEndpoints": ["http://203.0.113.1:65432"],
        "joinTokenFrom": {"file": TOKEN},
    }
    assert "joinNonce" not in found["SAMEnrollmentClaim/leaf1"]


def test_wireguard_comes_with_its_device_and_its_part_of_the_claim() -> None:
    found = parts(leaf_config(secret_file=TOKEN, **WIREGUARD).out)
    assert found["WireGuardInterface/wg-sam"] == {
        "privateKeyFile": "/var/lib/routerd/secrets/wg-sam.key",
        "listenPort": 51820,
        "peersFrom": [{"resource": "SAMRRSet/rrs"}],
    }
    assert found["IPv4StaticAddress/wg-sam-ipv4"]["address"] == "10.20.0.11/32"
    profile, claim = found["SAMTransportProfile/leaf1"], found["SAMEnrollmentClaim/leaf1"]
    assert (profile["underlayInterface"], profile["localEndpoint"]) == ("wg-sam", "10.20.0.11")
    assert claim["endpoint"] == "10.20.0.11"
    assert claim["wireGuard"] == {
        "publicKey": KEY,
        "endpoint": "203.0.113.11:51820",
        "allowedIPs": ["10.20.0.11/32"],
        "persistentKeepalive": 25,
    }


@pytest.mark.parametrize(
    ("given", "endpoint"),
    [
        ({"wireguard-endpoint": "none"}, None),
        ({"wireguard-endpoint": "198.51.100.9"}, "198.51.100.9:51820"),
        ({"wireguard-endpoint": "198.51.100.9:1"}, "198.51.100.9:1"),
        ({"wireguard-listen-port": "999"}, "203.0.113.11:999"),
        # As in the scripts of earlier programs: the inner address is the local endpoint.
        ({"wireguard-address": None, "local-endpoint": "10.20.0.11"}, "203.0.113.11:51820"),
    ],
)
def test_where_wireguard_is_reached(given: dict[str, str | None], endpoint: str | None) -> None:
    found = parts(leaf_config(secret_file=TOKEN, **{**WIREGUARD, **given}).out)
    assert found["SAMEnrollmentClaim/leaf1"]["wireGuard"].get("endpoint") == endpoint
    assert found["SAMEnrollmentClaim/leaf1"]["endpoint"] == "10.20.0.11"


def test_a_key_file_is_read_and_made_only_when_asked(tmp_path: Path) -> None:
    file = tmp_path / "secrets" / "wg.key"
    options = {**WIREGUARD, "wireguard-public-key": None, "wireguard-private-key-file": str(file)}
    missing = leaf_config(secret_file=TOKEN, **options)
    assert missing.status == 2
    assert "on the leaf add --wireguard-make-key, elsewhere give --wireguard-public-key" in missing.err
    assert not file.exists()
    made = leaf_config("--wireguard-make-key", secret_file=TOKEN, **options)
    again = leaf_config(secret_file=TOKEN, **options)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert made.out == again.out
    assert file.read_text().strip() not in made.out


def test_every_option_ends_up_in_the_file() -> None:
    options = {
        **WIREGUARD,
        "mode": "fou",
        "underlay-name": "wan",
        "owned-address": "10.80.1.20/32",
        "direct-peer-group": "SAMPeerGroup/all",
        "join-nonce": "n-7",
        "join-timestamp": "2026-06-28T00:00:00Z",
        "join-hmac": "ab" * 32,
        "bgp-asn": "64999",
        "bgp-router-id": "10.9.9.9",
        "rr-local-preference": "150",
        "encap-sport": "4000",
        "encap-dport": "4001",
        "wireguard-ifname": "wg7",
        "wireguard-private-key-file": "/etc/wg7.key",
        "state-ttl-refresh-before": "1h",
        "retry-min": "2s",
        "retry-max": "1m30s",
        "control-api-token-env": "BEARER",
        "control-api-ca-file": "/etc/ca.pem",
        "control-api-client-cert-file": "/etc/cert.pem",
        "control-api-client-key-file": "/etc/key.pem",
        "control-api-server-name": "rr.example",
        "bootstrap-endpoint": "https://203.0.113.1:65432,https://203.0.113.2:65432",
    }
    words = ("--control-api-insecure-skip-verify", "--mobility-prefix", "10.81.0.0/16", "--on-loopback")
    made = leaf_config(*words, **options)
    assert made.status == 0
    assert made.err == "warning: direct tunnels: routerd does not make them, whatever the file says\n"
    found = parts(made.out)
    assert found["Interface/wan"]["ifname"] == "eth0"
    assert found["IPv4StaticAddress/owned-service-ip"] == {
        "interface": "lo-mobility",
        "address": "10.80.1.20/32",
    }
    profile = found["SAMTransportProfile/leaf1"]
    assert (profile["encapSport"], profile["encapDport"], profile["bgp"]["peerASN"]) == (4000, 4001, 64999)
    assert profile["bgp"]["importPolicy"]["allowedPrefixes"] == ["10.80.0.0/16", "10.81.0.0/16"]
    assert profile["bgp"]["importPolicy"]["localPreference"] == 150
    assert profile["peersFrom"][1] == {"resource": "SAMPeerGroup/all", "optional": True}
    assert found["BGPRouter/mobility-bgp"]["routerID"] == "10.9.9.9"
    assert found["WireGuardInterface/wg7"]["privateKeyFile"] == "/etc/wg7.key"
    claim = found["SAMEnrollmentClaim/leaf1"]
    assert (claim["joinNonce"], claim["joinTimestamp"]) == ("n-7", "2026-06-28T00:00:00Z")
    assert (claim["joinHMAC"], claim["directMesh"]) == ("ab" * 32, True)
    assert found["SAMEnrollmentClient/leaf1"] == {
        "claimRef": "SAMEnrollmentClaim/leaf1",
        "bootstrapEndpoints": ["https://203.0.113.1:65432", "https://203.0.113.2:65432"],
        "stateTTLRefreshBefore": "1h",
        "retryBackoff": {"min": "2s", "max": "1m30s"},
        "controlAPITokenFrom": {"env": "BEARER"},
        "controlAPITLS": {
            "caFile": "/etc/ca.pem",
            "certFile": "/etc/cert.pem",
            "keyFile": "/etc/key.pem",
            "serverName": "rr.example",
            "insecureSkipVerify": True,
        },
    }


def test_one_of_several_leaves_of_a_site_says_which_one_it_is() -> None:
    made = leaf_config(placement_group="site-a", placement_priority="20", owned_address="10.80.1.20")
    assert made.status == 0
    assert parts(made.out)["SAMEnrollmentClaim/leaf1"]["placement"] == {"group": "site-a", "priority": 20}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"placement_group": "site-a"}, "--placement-group and --placement-priority go together"),
        ({"placement_priority": "1"}, "--placement-group and --placement-priority go together"),
        ({"placement_group": "site-a", "placement_priority": "0"}, "0 is not in the range"),
        ({"placement_group": "site-a", "placement_priority": "1"}, "--placement-group needs --owned-address"),
        (
            {"placement_group": "a b", "placement_priority": "1", "owned_address": "10.80.1.20"},
            '"a b" is not the name of a placement group',
        ),
    ],
)
def test_half_a_placement_is_refused(options: dict[str, str], said: str) -> None:
    made = leaf_config(**options)
    assert made.status == 2
    assert said in made.err


def test_a_claim_can_be_signed_at_once_and_is_as_sign_would_sign_it(tmp_path: Path) -> None:
    file = tmp_path / "leaf.yaml"
    made = leaf_config("-o", file, secret="geheim", join_timestamp="2026-06-28T00:00:00Z")
    assert made.status == 0
    assert "shows in the process list" in made.err
    claim = parts(file.read_text())["SAMEnrollmentClaim/leaf1"]
    assert claim["joinNonce"] == "leaf1-0001"
    signed = routerd("enroll", "sign", "--config", file, "--secret", "geheim")
    assert signed.out == claim["joinHMAC"] + "\n"
    assert "geheim" not in file.read_text()


def test_a_claim_that_is_not_signed_says_how_it_will_be() -> None:
    made = leaf_config()
    assert made.status == 0
    assert "the claim is not signed" in made.err
    assert "routerd enroll sign --config" in made.out


def test_a_file_is_private_and_never_replaced_without_a_word(tmp_path: Path) -> None:
    file = tmp_path / "leaf.yaml"
    file.write_text("mine")
    file.chmod(0o644)
    refused = leaf_config("-o", file, secret_file=TOKEN)
    assert (refused.status, file.read_text()) == (1, "mine")
    assert refused.err == f"routerd: {file}: exists, not changed; to replace it, use --force\n"
    assert leaf_config("-o", file, "--force", secret_file=TOKEN).status == 0
    assert file.read_text().startswith("# The router leaf1")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [file]
    lost = leaf_config("-o", tmp_path / "none" / "leaf.yaml", secret_file=TOKEN)
    assert lost.status == 1
    assert "not written; No such file or directory" in lost.err


@pytest.mark.parametrize("name", list(OPTIONS))
def test_what_must_be_given_is_named(name: str) -> None:
    done = leaf_config(**{name: None})
    assert done.status == 2
    assert f"Missing option '--{name}'" in done.err


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"underlay-address": "10.0.0.1"}, "is nothing such as 10.30.0.21/24"),
        ({"inner-prefix": "10.255.0.1/20"}, "is nothing such as 10.80.0.0/16"),
        ({"tunnel-address": "leaf"}, "is nothing such as 10.255.16.11"),
        ({"retry-min": "soon"}, "is nothing such as 10s"),
        ({"bootstrap-endpoint": "rr:65432"}, 'expected an http or https URL, got "rr:65432"'),
        ({"bootstrap-endpoint": ","}, "it is empty"),
        ({"retry-min": "1h"}, "spec.retryBackoff.max: is smaller than min"),
        ({"leaf-id": "leaf one"}, "letters, digits, dots and dashes"),
        ({"join-audience": "a\x07b"}, "joinAudience holds a"),
        ({"tunnel-address": "127.0.0.1"}, "is not an IPv4 host address"),
        ({**WIREGUARD, "wireguard-public-key": "abc="}, "not a WireGuard key"),
        ({**WIREGUARD, "wireguard-ifname": "a-name-that-is-too-long"}, "15"),
        ({"secret-file": TOKEN, "secret-env": "X"}, "give one of --secret-file"),
        ({"secret-file": TOKEN, "join-hmac": "ab"}, "leave the secret out"),
        ({"secret-file": TOKEN, "join-nonce": "1"}, "the leaf signs its claim itself"),
        ({"control-api-token-file": "/t", "control-api-token-env": "X"}, "give one of --control-api-token"),
    ],
)
def test_what_cannot_be_is_said_in_words(changed: dict[str, str | None], words: str) -> None:
    done = leaf_config(**changed)
    assert (done.status, done.out) == (2, "")
    assert words in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"endpoint-prefix": "10.1.0.0/16"}, "endpoint 203.0.113.11 is outside of 10.1.0.0/16"),
        ({"owned-address": "10.99.0.1"}, "owned address 10.99.0.1 is outside of every mobility prefix"),
        ({"control-api-token-env": "X"}, "the bearer token is sent in the clear"),
    ],
)
def test_what_may_fail_later_is_a_warning(changed: dict[str, str | None], words: str) -> None:
    done = leaf_config(secret_file=TOKEN, **changed)
    assert done.status == 0
    assert words in done.err


def test_names_that_yaml_would_take_for_something_else_are_quoted() -> None:
    found = yaml.safe_load(
        leaf_config(secret_file=TOKEN, leaf_id="0123", policy="on", join_audience="a: b").out
    )
    assert found["metadata"]["name"] == "0123"
    claim = parts(yaml.safe_dump(found))["SAMEnrollmentClaim/0123"]
    assert (claim["policyRef"], claim["joinAudience"]) == ("SAMEnrollmentPolicy/on", "a: b")


def test_other_plugins_can_be_named() -> None:
    document = yaml.safe_load(leaf_config("--plugins", "a,b", secret_file=TOKEN).out)
    assert document["plugins"] == ["a", "b"]


# --- join methods ------------------------------------------------------------------------------------


def installed_plugins(monkeypatch: pytest.MonkeyPatch, **provides: str) -> None:
    """Let these plugins be installed, each with one name that it provides."""
    found = {
        name: [
            installed.InstalledPlugin(
                name=name,
                distribution=name,
                version="1.0",
                entry_point=EntryPoint(name, "never_imported", ENTRY_POINT_GROUP),
                provides=frozenset({provided}),
            )
        ]
        for name, provided in provides.items()
    }
    monkeypatch.setattr(installed, "installation", lambda: installed.Installation(plugins=found))


def test_another_join_method_is_written_with_its_options_and_its_plugin(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    installed_plugins(monkeypatch, acme_join="join-method.ed25519", token="join-method.token")
    words = ("--join-option", "privateKeyFile=/etc/join.pem", "--join-option", "days=[1, 2]")
    made = leaf_config(*words, join_method="ed25519")
    assert (made.status, made.err) == (0, "")
    found = parts(made.out)
    client, claim = found["SAMEnrollmentClient/leaf1"], found["SAMEnrollmentClaim/leaf1"]
    assert client["joinMethod"] == "ed25519"
    assert client["joinOptions"] == {"privateKeyFile": "/etc/join.pem", "days": [1, 2]}
    assert "joinTokenFrom" not in client
    assert not [key for key in claim if key in ("joinNonce", "joinTimestamp", "joinHMAC")]
    assert "proves each submission by join method ed25519" in made.out
    assert yaml.safe_load(made.out)["plugins"] == ["transport_ipip", "bgp_ryu", "acme_join"]
    # A method may have a secret of its own.
    made = leaf_config(join_method="ed25519", secret_file=str(tmp_path / "s"))
    assert parts(made.out)["SAMEnrollmentClient/leaf1"]["joinTokenFrom"] == {"file": str(tmp_path / "s")}


def test_a_join_without_proof_needs_no_plugin() -> None:
    made = leaf_config(join_method="none")
    assert made.status == 0
    assert parts(made.out)["SAMEnrollmentClient/leaf1"]["joinMethod"] == "none"
    assert yaml.safe_load(made.out)["plugins"] == ["transport_ipip", "bgp_ryu"]


@pytest.mark.parametrize(
    ("words", "options", "said"),
    [
        ((), {"join_method": "tpm"}, "no installed plugin provides join method tpm; name the leaf's plugins"),
        ((), {"join_method": "x509"}, "the plugins one and two provide join method x509"),
        ((), {"join_method": "x", "join_nonce": "n"}, "with x the leaf proves each submission itself"),
        ((), {"join_method": "x", "secret": "s"}, "with x the leaf proves each submission itself"),
        ((), {"join_method": "none", "secret_file": "/s"}, "join method none proves nothing"),
        ((), {"join_option": "key"}, "key is not KEY=VALUE"),
        ((), {"join_option": "key={"}, "the value of key is not YAML; quote it"),
        (("--join-option", "a=1"), {"join_option": "a=2"}, "a is given twice"),
    ],
)
def test_a_join_method_that_cannot_be_written_is_refused(
    monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], options: dict[str, str], said: str
) -> None:
    installed_plugins(monkeypatch, one="join-method.x509", two="join-method.x509")
    made = leaf_config(*words, **options)
    assert made.status == 2
    assert said in " ".join(made.err.split())
