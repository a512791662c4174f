"""The hooks: the transport `shroud`, one whose key is too large, and a command that makes a key."""

import base64
from collections.abc import Sequence
from pathlib import Path

import click

import routerd
from routerd.model.names import PublicKey
from routerd.spi import Capability, NoOptions, PluginContext, PluginInfo, Transport, TransportMode
from routerd_shroud.transport import ShroudTransport

_CAPABILITIES = frozenset({Capability.ENCRYPTS, Capability.USERSPACE})


class LargeKeyTransport(ShroudTransport):
    """As if its keys were of another kind of cryptography: no claim can carry them."""

    async def public_key(self, private_key_file: Path) -> PublicKey:
        """Return a key of 1184 bytes."""
        await super().public_key(private_key_file)
        return PublicKey(base64.b64encode(bytes(1184)).decode())


@routerd.hookimpl
def routerd_plugin_info() -> PluginInfo:
    """Say who the plugin is."""
    return PluginInfo(name="transport_shroud", api=(1, 0), summary="encrypted tunnels of a stranger")


@routerd.hookimpl
def routerd_transports() -> Sequence[TransportMode]:
    """Describe both modes."""
    return [
        TransportMode(kind="shroud", create=_shroud, capabilities=_CAPABILITIES),
        TransportMode(kind="largekey", create=_large, capabilities=_CAPABILITIES),
    ]


@routerd.hookimpl
def routerd_commands() -> Sequence[click.Command]:
    """Add the command that makes a key."""
    return [command]


@click.command("shroud-key")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
def command(file: Path) -> None:
    """Print the public key of a file, and make a missing one first."""
    from routerd_shroud import keys

    click.echo(keys.public(keys.ensure(file, read_only=False)))


def _shroud(context: PluginContext, options: NoOptions) -> Transport:
    del options
    return ShroudTransport(context, "shroud")


def _large(context: PluginContext, options: NoOptions) -> Transport:
    del options
    return LargeKeyTransport(context, "largekey")
