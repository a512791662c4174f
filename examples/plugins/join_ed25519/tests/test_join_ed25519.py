"""The plugin keeps the contracts of a plugin and of a join method, and its own word."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest
from click.testing import CliRunner
from routerd_join_ed25519 import keys, plugin
from routerd_join_ed25519.command import command
from routerd_join_ed25519.config import ClientKey, PolicyKeys

from routerd.errors import EnrollmentRefused, PermanentError
from routerd.model.claim import Claim
from routerd.spi import JoinMethod, PluginContext, Proof
from routerd.testing.contracts import Ends, EnrollmentContract, PluginContract, running


def made(path: Path) -> str:
    """Make a key file and return its public key."""
    return keys.public_text(keys.make(path))


class TestPlugin(PluginContract):
    name: ClassVar[str] = "join_ed25519"


class TestMethod(EnrollmentContract):
    @pytest.fixture
    def provider(self) -> JoinMethod:
        return plugin.routerd_enrollments()[0]

    @pytest.fixture
    def policy_options(self, tmp_path: Path) -> PolicyKeys:
        mine, other = made(tmp_path / "leaf-a.pem"), made(tmp_path / "leaf-b.pem")
        return PolicyKeys(keys={"leaf-a": (mine,), "leaf-b": (other,)})

    @pytest.fixture
    def client_options(self, policy_options: PolicyKeys, tmp_path: Path) -> ClientKey:
        assert "leaf-a" in policy_options.keys
        return ClientKey(private_key_file=tmp_path / "leaf-a.pem")

    @pytest.fixture
    def stranger_options(self, policy_options: PolicyKeys, tmp_path: Path) -> ClientKey:
        assert "leaf-b" in policy_options.keys  # a leaf of the same policy, which claims to be leaf-a
        return ClientKey(private_key_file=tmp_path / "leaf-b.pem")

    @pytest.fixture
    def private_texts(self, client_options: ClientKey) -> tuple[str, ...]:
        lines = client_options.private_key_file.read_text().splitlines()
        return tuple(line for line in lines if not line.startswith("-"))


@pytest.fixture
def ends(tmp_path: Path) -> Ends:
    old, new = made(tmp_path / "old.pem"), made(tmp_path / "new.pem")
    return Ends(
        secret=None,
        policy=PolicyKeys(keys={"leaf-a": (old, new)}),
        client=ClientKey(private_key_file=tmp_path / "new.pem"),
        method=plugin.routerd_enrollments()[0],
    )


CLAIM = Claim(name="leaf-a", policy_ref="SAMEnrollmentPolicy/p", leaf_id="leaf-a", tunnel_address="10.0.0.1")


async def test_two_keys_hold_while_one_is_exchanged(
    plugin_context: PluginContext, ends: Ends, tmp_path: Path
) -> None:
    async with running(ends.method, plugin_context, ends.method.options()) as method:
        for name in ("old.pem", "new.pem"):
            signing = ends.signing(CLAIM)
            proof = await method.sign(
                type(signing)(
                    claim=CLAIM,
                    options=ClientKey(private_key_file=tmp_path / name),
                    challenge=signing.challenge,
                )
            )
            await method.verify(ends.submission(CLAIM, proof))


@pytest.mark.parametrize(
    ("claim", "proof", "reason"),
    [
        ({"leaf_id": "leaf-x"}, {"signature": "A" * 86 + "=="}, "ed25519-key-unknown"),
        ({}, {"signature": "AAAA"}, "ed25519-proof-invalid"),
        ({}, {"signature": "A" * 86 + "=="}, "ed25519-signature-wrong"),
    ],
)
async def test_each_refusal_has_its_reason(
    plugin_context: PluginContext, ends: Ends, claim: dict[str, str], proof: dict[str, str], reason: str
) -> None:
    fields = {"policy_ref": "p", "leaf_id": "leaf-a", "tunnel_address": "10.0.0.1", **claim}
    submission = ends.submission(Claim(name="leaf-a", **fields), Proof.of(proof))
    async with running(ends.method, plugin_context, ends.method.options()) as method:
        with pytest.raises(EnrollmentRefused) as refused:
            await method.verify(submission)
    assert refused.value.reason == reason


def test_what_is_not_a_key_is_refused_with_its_leaf() -> None:
    with pytest.raises(ValueError, match="keys of leaf1: 'AAAA' is not an Ed25519 public key"):
        PolicyKeys(keys={"leaf1": ("AAAA",)})
    with pytest.raises(ValueError, match="keys of leaf1: none"):
        PolicyKeys(keys={"leaf1": ()})


def test_a_key_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    keys.make(path)
    path.chmod(0o640)
    with pytest.raises(PermanentError, match=r"key\.pem: others may read it; run chmod 600"):
        keys.read(path)


@pytest.mark.parametrize(
    "content", [b"", b"junk", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"]
)
def test_a_key_file_without_a_key_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "key.pem"
    path.touch(mode=0o600)
    path.write_bytes(content)
    with pytest.raises(PermanentError, match=r"key\.pem: not an unencrypted Ed25519 key"):
        keys.read(path)


def test_the_command_makes_a_key_once_and_prints_its_public_half(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    first = CliRunner().invoke(command, ["--make", str(path)])
    assert first.exit_code == 0
    assert path.stat().st_mode & 0o777 == 0o600
    assert CliRunner().invoke(command, [str(path)]).output == first.output
    again = CliRunner().invoke(command, ["--make", str(path)])
    assert isinstance(again.exception, PermanentError)
    assert "not made; File exists" in str(again.exception)
