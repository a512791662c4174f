"""The hooks of the plugin: it offers the join method `ed25519` and the command `ed25519-key`."""

from collections.abc import Sequence
from pathlib import Path

import click
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import routerd
from routerd.errors import PluginError
from routerd.spi import (
    Enrollment,
    JoinEnd,
    JoinMethod,
    JoinTrial,
    JSONValue,
    NoOptions,
    PluginContext,
    PluginInfo,
)
from routerd_join_ed25519 import keys
from routerd_join_ed25519.command import command
from routerd_join_ed25519.config import ClientKey, PolicyKeys
from routerd_join_ed25519.enrollment import KIND, Ed25519Enrollment


@routerd.hookimpl
def routerd_plugin_info() -> PluginInfo:
    """Say who the plugin is; the name is that of the entry point."""
    return PluginInfo(name="join_ed25519", api=(1, 0), summary="join by an Ed25519 key of the leaf's own")


@routerd.hookimpl
def routerd_enrollments() -> Sequence[JoinMethod]:
    """Describe the join method; its name is the `joinMethod` of a policy and a client."""
    return [
        JoinMethod(
            kind=KIND,
            create=create,
            binds_claim=True,
            challenges=True,
            policy=PolicyKeys,
            client=ClientKey,
            trial=trial,
        )
    ]


@routerd.hookimpl
def routerd_commands() -> Sequence[click.Command]:
    """Add the command that makes a key."""
    return [command]


def trial(leaves: Sequence[str], directory: Path) -> JoinTrial:
    """Return new keys for the leaves of a new fabric, as `routerd lab run --join ed25519` asks for them."""
    made = {leaf: Ed25519PrivateKey.generate() for leaf in leaves}
    listed: dict[str, JSONValue] = {leaf: [keys.public_text(key)] for leaf, key in made.items()}
    options = {"privateKeyFile": str(directory / "join.pem")}
    clients = {
        leaf: JoinEnd(options=options, files={"join.pem": keys.pem(key)}) for leaf, key in made.items()
    }
    return JoinTrial(policy=JoinEnd(options={"keys": listed}), clients=clients)


def create(context: PluginContext, options: object) -> Enrollment:
    """Make the method; the plugin itself has no options."""
    if not isinstance(options, NoOptions):
        raise PluginError(f"{context.plugin}: has no options of its own, got {type(options).__name__}")
    return Ed25519Enrollment()
