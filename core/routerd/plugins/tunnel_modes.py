"""The transports of the enabled plugins as derivation asks them: every answer is checked.

Whatever a transport raises or returns stays with the tunnels of its mode.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

import attrs

from routerd.errors import PluginError, words_of
from routerd.model.names import PublicKey, is_public_key
from routerd.model.tunnel import Opening, Tunnel
from routerd.spi import Capability, Transport, TransportMode

T = TypeVar("T")

LARGEST_OVERHEAD = 1500 - 576
"""Bytes: what is left of an Ethernet frame must hold the smallest packet of IPv4 that a host may send."""

_WITH_PORTS = ("udp", "tcp")


@attrs.frozen(kw_only=True)
class TunnelMode:
    """One transport; implements `derive.inputs.Mode` by it."""

    plugin: str
    described: TransportMode
    transport: Transport

    @property
    def encrypts(self) -> bool:
        """Say whether its tunnels have peers and keys."""
        return Capability.ENCRYPTS in self.described.capabilities

    def overhead(self, tunnel: Tunnel) -> int:
        """Return the bytes that the encapsulation adds; `PluginError` for no such answer."""
        found: object = self._ask("overhead", tunnel, self.transport.overhead)
        if not isinstance(found, int) or isinstance(found, bool) or not 0 <= found <= LARGEST_OVERHEAD:
            raise self._failed("overhead", f"it returned {_shown(found)}, not 0 to {LARGEST_OVERHEAD} bytes")
        return found

    def openings(self, tunnel: Tunnel) -> tuple[Opening, ...]:
        """Return what the packet filter must let in; `PluginError` for no such answer."""
        found: object = self._ask("openings", tunnel, self.transport.openings)
        if not isinstance(found, Sequence):
            raise self._failed("openings", f"it returned {_shown(found)}, not a sequence of Opening")
        for each in found:
            if not _is_narrow(each):
                wanted = "udp or tcp with a port, or the number of an IP protocol"
                raise self._failed("openings", f"it returned {_shown(each)}, which is not {wanted}")
        return tuple(found)

    def _ask(self, call: str, tunnel: Tunnel, method: Callable[[Tunnel], T]) -> T:
        try:
            return method(tunnel)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a plugin may leave the process, or leak what ends a task
            raise self._failed(call, words_of(error)) from error

    def _failed(self, call: str, words: str) -> PluginError:
        return PluginError(f"transport {self.described.kind} (plugin {self.plugin}): {call} failed: {words}")


def _is_narrow(opening: object) -> bool:
    if not isinstance(opening, Opening) or not isinstance(opening.protocol, str):
        return False
    port: object = opening.port
    if not isinstance(port, int) or isinstance(port, bool):
        return False
    if opening.protocol in _WITH_PORTS:
        return 1 <= port <= 65535
    number = opening.protocol
    return number.isascii() and number.isdecimal() and 1 <= int(number) <= 255 and port == 0


def checked_key(mode: str, key: object) -> PublicKey:
    """Return the public key of an encrypting transport; `PluginError` when a claim cannot carry it."""
    if isinstance(key, str) and is_public_key(key):
        return PublicKey(key)
    raise PluginError(
        f"transport {mode}: its public key is {_shown(key)}; a claim carries keys of 32 bytes in base64 "
        "and no others; use a transport with such keys"
    )


def _shown(value: object) -> str:
    """Return a value of a plugin in a few printable characters; its own text may raise."""
    if isinstance(value, Opening):
        return f"an Opening of {value.protocol!a:.40} and {value.port!a:.40}"
    if isinstance(value, str):
        return f'"{value[:20]!a}", {len(value)} characters long'
    return str(value) if isinstance(value, int) else f"a {type(value).__name__}"
