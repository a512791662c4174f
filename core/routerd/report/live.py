"""The answers of the providers at this moment: sessions, tunnels, WireGuard peers."""

from collections.abc import Mapping
from ipaddress import IPv4Address

import attrs

from routerd.errors import ProviderError
from routerd.model.session import SessionState
from routerd.model.tunnel import PeerState, TunnelState
from routerd.report.subject import Subject

HANDSHAKE_LIMIT = 180
"""Seconds after which a WireGuard session without a new handshake is dead (REJECT_AFTER_TIME)."""


@attrs.frozen(kw_only=True)
class Live:
    """The answers of the providers at this moment."""

    sessions: tuple[SessionState, ...] = ()
    tunnels: tuple[TunnelState, ...] = ()
    peers: tuple[PeerState, ...] = ()
    errors: tuple[str, ...] = ()
    _by_neighbour: Mapping[IPv4Address, SessionState] = attrs.field(init=False, eq=False, repr=False)

    @_by_neighbour.default
    def _found(self) -> Mapping[IPv4Address, SessionState]:
        return {each.neighbour: each for each in self.sessions}

    def session(self, neighbour: IPv4Address) -> SessionState | None:
        """Return the session with a neighbour, none while the speaker has none."""
        return self._by_neighbour.get(neighbour)

    def up(self, neighbour: IPv4Address) -> bool:
        """Say whether the session with a neighbour carries routes."""
        state = self.session(neighbour)
        return state is not None and state.established


def alive(peer: PeerState, now: float) -> bool:
    """Say whether a WireGuard peer had a handshake lately; `now` is in seconds since the epoch."""
    return bool(peer.last_handshake) and now - peer.last_handshake < HANDSHAKE_LIMIT


async def ask_live(subject: Subject) -> Live:
    """Return the answers of all providers; `errors` names each one that does not answer."""
    sessions: list[SessionState] = []
    tunnels: list[TunnelState] = []
    peers: list[PeerState] = []
    errors: list[str] = []
    for kind, routing in subject.made.routings.items():
        try:
            sessions += await routing.states()
        except ProviderError as error:
            errors.append(f"{kind}: {error}")
    for mode, transport in subject.made.transports.items():
        if f"transport/{mode}" in subject.knowledge.waiting:
            continue
        try:
            tunnels += await transport.states()
        except ProviderError as error:
            errors.append(f"{mode}: {error}")
    for mode, encrypting in subject.made.encrypting().items():
        if f"transport/{mode}" in subject.knowledge.waiting:
            continue
        try:
            peers += await encrypting.peer_states()
        except ProviderError as error:
            errors.append(f"{mode} peers: {error}")
    return Live(sessions=tuple(sessions), tunnels=tuple(tunnels), peers=tuple(peers), errors=tuple(errors))
