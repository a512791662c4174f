"""The answers of the providers at this moment: sessions, tunnels, encrypted peers, subsystems."""

import asyncio
from collections.abc import Mapping
from itertools import chain
from typing import TypeVar

import attrs

from routerd.errors import ProviderError
from routerd.model.addresses import IPAddress
from routerd.model.names import LinkName
from routerd.model.session import SessionState
from routerd.model.subsystem import SubsystemState
from routerd.model.tunnel import PeerState, TunnelState
from routerd.reconcile.guard import asked, of_plugin, sequence_of
from routerd.report.subject import Subject

T = TypeVar("T")

STATES_SECONDS = 3.0
"""Seconds that one provider has to report its state."""

HANDSHAKE_LIMIT = 180
"""Seconds after which an encrypted session without a new handshake is dead: WireGuard's REJECT_AFTER_TIME."""


@attrs.frozen(kw_only=True)
class Live:
    """The answers of the providers at this moment; `encryption` has the mode of each link with peers."""

    sessions: tuple[SessionState, ...] = ()
    tunnels: tuple[TunnelState, ...] = ()
    peers: tuple[PeerState, ...] = ()
    encryption: Mapping[LinkName, str] = attrs.field(factory=dict)
    subsystems: Mapping[str, tuple[SubsystemState, ...]] = attrs.field(factory=dict)
    errors: tuple[str, ...] = ()
    _by_neighbour: Mapping[IPAddress, SessionState] = attrs.field(init=False, eq=False, repr=False)

    @_by_neighbour.default
    def _found(self) -> Mapping[IPAddress, SessionState]:
        return {each.neighbour: each for each in self.sessions}

    def session(self, neighbour: IPAddress) -> SessionState | None:
        """Return the session with a neighbour, none while the speaker has none."""
        return self._by_neighbour.get(neighbour)

    def up(self, neighbour: IPAddress) -> bool:
        """Say whether the session with a neighbour carries routes."""
        state = self.session(neighbour)
        return state is not None and state.established


def alive(peer: PeerState, now: float) -> bool:
    """Say whether an encrypted peer had a handshake lately; `now` is in seconds since the epoch."""
    return bool(peer.last_handshake) and now - peer.last_handshake < HANDSHAKE_LIMIT


async def ask_live(subject: Subject) -> Live:
    """Return the answers of all providers; `errors` names each one that does not answer in time.

    Every provider is asked at once and has a deadline of its own, so that none hides the answer of others.
    """
    made, waiting = subject.made, subject.knowledge.waiting
    errors: list[str] = []

    async def ask(owner: str, provider: object, what: str, kind: type[T]) -> list[T]:
        if owner in waiting:
            return []
        plugin = made.plugins.get(owner, "")

        async def call() -> tuple[T, ...]:
            return sequence_of(kind, await getattr(provider, what)())

        try:
            found = await asked(
                call,
                log=subject.log,
                table=owner,
                call="ask",
                what=what,
                deadline=STATES_SECONDS,
                plugin=plugin,
            )
        except ProviderError as error:
            errors.append(f"{of_plugin(owner, plugin)}: {what}: {error}")
            return []
        return list(found)

    routings = {f"routing/{kind}": routing for kind, routing in made.routings.items()}
    transports = {f"transport/{kind}": transport for kind, transport in made.transports.items()}
    encrypting = {f"transport/{kind}": transport for kind, transport in made.encrypting().items()}
    parts = {kind: each.provider for kind, each in made.subsystems.items()}
    sessions, tunnels, peers, states = await asyncio.gather(
        asyncio.gather(*(ask(name, each, "states", SessionState) for name, each in routings.items())),
        asyncio.gather(*(ask(name, each, "states", TunnelState) for name, each in transports.items())),
        asyncio.gather(*(ask(name, each, "peer_states", PeerState) for name, each in encrypting.items())),
        asyncio.gather(*(ask(f"subsystem/{kind}", parts[kind], "states", SubsystemState) for kind in parts)),
    )
    return Live(
        sessions=tuple(chain(*sessions)),
        tunnels=tuple(chain(*tunnels)),
        peers=tuple(chain(*peers)),
        encryption={
            state.key.link: mode
            for mode, found in zip(made.encrypting(), peers, strict=True)
            for state in found
        },
        subsystems={kind: tuple(found) for kind, found in zip(parts, states, strict=True) if found},
        errors=tuple(sorted(errors)),
    )
