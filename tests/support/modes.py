"""The transports of the SAM dialect, as derivation asks them, without the plugins that provide them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs

from routerd.model.tunnel import Opening, Tunnel


@attrs.frozen(kw_only=True)
class PlainMode:
    """Implements `derive.inputs.Mode` with constants; a key adds four bytes."""

    protocol: str = ""
    size: int = 0
    encrypts: bool = False

    def overhead(self, tunnel: Tunnel) -> int:
        return self.size + (0 if tunnel.key is None else 4)

    def openings(self, tunnel: Tunnel) -> Sequence[Opening]:
        if self.encrypts:
            port = tunnel.wireguard.listen_port if tunnel.wireguard is not None else None
            return [] if port is None else [Opening(protocol="udp", port=port)]
        if tunnel.encapsulation is not None:
            return [Opening(protocol="udp", port=tunnel.encapsulation.sport)]
        return [Opening(protocol=self.protocol)]


MODES: Mapping[str, PlainMode] = {
    "ipip": PlainMode(protocol="4", size=20),
    "gre": PlainMode(protocol="47", size=24),
    "fou": PlainMode(size=28),
    "gue": PlainMode(size=32),
    "wireguard": PlainMode(encrypts=True, size=80),
}
