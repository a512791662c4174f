"""The public half of a key file of an encrypting transport, for a command that writes it into a claim."""

from collections.abc import Sequence
from pathlib import Path
from typing import cast

from routerd.errors import ConfigError, PluginError, TransientError
from routerd.plugins.host import PluginHost
from routerd.plugins.installed import provider_hint
from routerd.plugins.providers import alone
from routerd.plugins.tunnel_modes import checked_key
from routerd.process.log import Log
from routerd.spi import Capability, EncryptingTransport


async def public_key(
    private_key_file: Path, *, encryption: str, plugins: Sequence[str], make: bool, log: Log
) -> str:
    """Return the public key of a file; `make` makes a missing file first (0600).

    One of `plugins` provides the transport `encryption`. Raises `ConfigError` when there is no such
    file.
    """
    found = PluginHost.load(plugins).transports().get(encryption)
    if found is None or Capability.ENCRYPTS not in found[1].capabilities:
        raise PluginError(
            f"encryption {encryption}: none of the plugins {', '.join(plugins)} provides it; "
            f"{provider_hint('transport', encryption, plugins)}"
        )
    loaded, provider = found
    with alone(loaded, provider, loaded.info.config(), node="", log=log, read_only=not make) as transport:
        try:
            key = await cast("EncryptingTransport", transport).public_key(private_key_file)
            return checked_key(encryption, key)
        except TransientError as error:
            raise ConfigError.single(
                str(private_key_file),
                "this file does not exist, so its public key is not known",
                hint="on the leaf add --wireguard-make-key, elsewhere give --wireguard-public-key",
            ) from error
