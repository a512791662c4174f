"""The public half of a WireGuard key file, for a command that writes it into a claim."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from routerd.errors import ConfigError, PluginError, TransientError
from routerd.plugins.host import PluginHost
from routerd.plugins.providers import alone
from routerd.process.log import Log
from routerd.spi import Capability, EncryptingTransport


async def public_key(private_key_file: Path, *, plugin: str, make: bool, log: Log) -> str:
    """Return the public key of a file; `make` makes a missing file first (0600).

    `plugin` provides WireGuard. Raises `ConfigError` when there is no such file.
    """
    host = PluginHost.load([plugin])
    found = host.transports().get("wireguard")
    if found is None or Capability.ENCRYPTS not in found[1].capabilities:
        raise PluginError(f"plugin {plugin} does not provide WireGuard")
    loaded, provider = found
    with alone(loaded, provider, loaded.info.config(), node="", log=log, read_only=not make) as transport:
        try:
            return await cast("EncryptingTransport", transport).public_key(private_key_file)
        except TransientError as error:
            raise ConfigError.single(
                str(private_key_file),
                "this file does not exist, so its public key is not known",
                hint="on the leaf add --wireguard-make-key, elsewhere give --wireguard-public-key",
            ) from error
