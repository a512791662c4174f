"""The configured sessions: who is expected at the other end, how it is dialed, how and why it ends."""

import logging
from collections.abc import Callable
from functools import partial
from ipaddress import IPv4Address

import attrs

from routerd.model.session import Session
from routerd_bgp_ryu.child.accounts import Accounts
from routerd_bgp_ryu.child.engine import Engine, identity_of
from routerd_bgp_ryu.child.learned import Learned
from routerd_bgp_ryu.child.malformed import RECEIVED, Malformed
from routerd_bgp_ryu.child.osken import Library, packet
from routerd_bgp_ryu.child.outgoing import Outgoing
from routerd_bgp_ryu.child.quirks import end_with
from routerd_bgp_ryu.child.restart import Graceful
from routerd_bgp_ryu.identity import Identity, mismatch, router_id_in
from routerd_bgp_ryu.notification import (
    COLLISION,
    DECONFIGURED,
    RECONFIGURED,
    REJECTED,
    RESET,
    SHUTDOWN,
    error_text,
)
from routerd_bgp_ryu.screen import Fault, Terms, shutdown_words
from routerd_bgp_ryu.wire import Document

_LOG = logging.getLogger("routerd.bgp")
_OPEN_DEADLINE = 10.0
"""Seconds for a connection to become a session, where the hold time is not longer."""

_STRANGERS = 1000
"""Addresses of strangers that are remembered, so that each is logged once."""


def _without_labels(session: Session) -> Session:
    """Return the part of a session that the library knows; this module compares the router ID."""
    return attrs.evolve(session, owner="", leaf="", claim="", peer_router_id=None)


class Sessions:
    """The configured sessions by neighbour.

    What complicates this:

    - A change of labels or of the expected router ID must not reset a session that has the right speaker, and
      must end one that has a wrong speaker.
    - An OPEN, a NOTIFICATION or a break may be of a connection that never became the session; only the
      session's own say how the session ended.
    - A leaf that dials from another address than its tunnel's is a stranger; the session that waits for its
      router ID says so.
    - The library has one retry time for all neighbours, and hold times only of 10 s and more.
    """

    def __init__(
        self,
        engine: Engine,
        accounts: Accounts,
        learned: Learned,
        graceful: Graceful,
        malformed: Malformed,
        changed: Callable[[], None],
    ) -> None:
        self.configured: dict[str, Session] = {}
        self._engine = engine
        self._accounts = accounts
        self._learned = learned
        self._graceful = graceful
        self._malformed = malformed
        self._changed = changed
        self._strangers: set[str] = set()

    # --- what the daemon asks for ----------------------------------------------------------------

    def set(self, neighbour: str, session: Session | None) -> None:
        """Make a session be as wanted, or end it; reset none where only labels or the router ID differ."""
        present = self.configured.get(neighbour)
        if session is None or present is None:
            if session is not None:
                self._add(neighbour, session)
            elif present is not None:
                self._end(neighbour, DECONFIGURED)
            return
        speaks = self._speaking(neighbour)
        fault = mismatch(speaks, session, self._engine.speaker) if speaks is not None else None
        if fault is None and _without_labels(present) == _without_labels(session):
            self.configured[neighbour] = session
            if present.peer_router_id != session.peer_router_id:
                self._accounts.forget_refusal(neighbour)
            return
        why = RECONFIGURED if fault is None else DECONFIGURED
        self._end(neighbour, why)
        self._add(neighbour, session)
        if fault is not None and speaks is not None:
            self._accounts.refuse(neighbour, attrs.evolve(fault, code=why).sent, speaks)

    def end_all(self) -> None:
        """End every session: the speaker stops."""
        for neighbour in list(self.configured):
            self._end(neighbour, SHUTDOWN)

    def all_established(self) -> bool:
        """Say whether every configured session is up."""
        return len(list(self._engine.established())) == len(self.configured)

    def patience(self, neighbour: str) -> float:
        """Return the seconds in which a connection has to become a session."""
        session = self.configured.get(neighbour)
        return max(_OPEN_DEADLINE, session.timers.hold if session else 0)

    def states(self) -> list[Document]:
        """Return how each session does."""
        result: list[Document] = []
        for neighbour in self.configured:
            peer, account = self._engine.peer(neighbour), self._accounts.of(neighbour)
            accepted, reasons = self._learned.tally(peer)
            result.append(
                {
                    "neighbour": neighbour,
                    "state": str(peer.state.bgp_state).lower() if peer is not None else "idle",
                    "since": account.since,
                    "remote_asn": account.who.asn if account.who else None,
                    "remote_router_id": str(account.who.router_id) if account.who else None,
                    "received": accepted + reasons.total(),
                    "accepted": accepted,
                    "rejected": sorted(reasons.items()),
                    "advertised": len(peer.outbox.held) if peer is not None else 0,
                    "last_error": account.error,
                }
            )
        return result

    def _add(self, neighbour: str, session: Session) -> None:
        peer = self._engine.add(neighbour, session)
        if not session.passive:
            # FRR, which keeps our routes then, waits to be dialed; where we wait too, neither side dials.
            configured = peer._neigh_conf.get_configured_capabilities  # noqa: SLF001 - there is no public way to it
            peer._neigh_conf.get_configured_capabilities = partial(self._capabilities, configured)  # noqa: SLF001 - as above
        peer.source = str(session.source) if session.source else None
        peer.failed = partial(self._accounts.say, neighbour)
        peer.ended = partial(self._ended, neighbour)
        self.configured[neighbour] = session
        self._set_retry()
        self._learned.expect(peer)

    def _capabilities(self, configured: Callable[[], Library]) -> Library:
        """Return the capabilities of an OPEN that is made now."""
        ours = self._graceful.capability(complete=Outgoing.complete)
        return configured() | {packet.BGP_CAP_GRACEFUL_RESTART: [ours]}

    def _end(self, neighbour: str, why: tuple[int, int]) -> None:
        """Close a session with a Cease; forget its neighbour, and what the neighbour has sent."""
        peer = self._engine.peer(neighbour)
        if peer.protocol is not None:
            end_with(peer.protocol, why)
        # The library leaves a deleted neighbour's routes in its table, and goes on reflecting them.
        self._learned.refuse_all(peer)
        self._engine.remove(peer)
        self.configured.pop(neighbour, None)
        self._accounts.drop(neighbour)
        self._learned.drop(peer)
        self._set_retry()
        self._changed()

    def _set_retry(self) -> None:
        shortest = min((each.timers.connect_retry for each in self.configured.values()), default=30)
        self._engine.set_retry(shortest, _OPEN_DEADLINE)

    # --- who may speak ---------------------------------------------------------------------------

    def _speaking(self, neighbour: str) -> Identity | None:
        """Return who has the session with a neighbour now, from its OPEN on."""
        protocol = self._engine.peer(neighbour).protocol
        opened = protocol.recv_open_msg if protocol is not None else None
        return identity_of(opened) if opened is not None else None

    def judge(self, peer: Library, opened: Identity) -> tuple[int, int] | None:
        """Return with which code an OPEN is refused; none when the expected speaker sent it."""
        neighbour = peer.ip_address
        session = self.configured.get(neighbour)
        if session is None or self._engine.peer(neighbour) is not peer:
            return REJECTED  # the session was taken back, or replaced, while the connection was made
        fault = mismatch(opened, session, self._engine.speaker)
        if fault is None:
            return None
        self._accounts.refuse(neighbour, fault.sent, opened)
        return fault.code

    def stranger(self, address: str, sent: bytes) -> None:
        """Name an address that is not a neighbour's and dialed, to the session that it perhaps meant."""
        router_id = router_id_in(sent)
        if address not in self._strangers and len(self._strangers) < _STRANGERS:
            self._strangers.add(address)
            _LOG.warning("%s is not a configured neighbour (router ID %s): rejected", address, router_id)
        for neighbour, session in self.configured.items():
            peer = self._engine.peer(neighbour)
            if session.peer_router_id != router_id or router_id is None or peer.in_established():
                continue
            text = f"expected router ID {router_id} of {session.whose} from {neighbour}, came from {address}"
            self._accounts.refuse(neighbour, Fault(code=REJECTED, text=text).sent)

    def terms(self, protocol: Library) -> Terms:
        """Return who the two sides of a connection are."""
        session, speaker = self.configured.get(protocol._remotename[0]), self._engine.speaker  # noqa: SLF001 - there is no public way to it
        return Terms(
            asn=speaker.asn,
            peer_asn=session.peer_asn if session is not None else 0,
            router_id=speaker.router_id,
            cluster_id=speaker.cluster_id or speaker.router_id,
            local=IPv4Address(protocol._localname[0]),  # noqa: SLF001 - as above
        )

    # --- how a session ends ----------------------------------------------------------------------

    def failed(self, peer: Library, fault: Fault, *, bound: bool) -> None:
        """Say why a connection ends; one that is not the session's says nothing of the session."""
        neighbour = peer.ip_address
        self._malformed.count(neighbour, fault.sent)
        account = self._accounts.of(neighbour)
        if bound and peer.in_established():
            account.ended = fault.code
        if bound or not (peer.in_established() or account.refusal):
            self._accounts.say(neighbour, fault.sent)

    def notified(
        self, peer: Library, code: int, subcode: int | None, direction: str, data: bytes = b""
    ) -> None:
        """Take note of a NOTIFICATION that was sent or received."""
        if peer is None:
            return
        numbers, account = (int(code), int(subcode or 0)), self._accounts.of(peer.ip_address)
        if peer.in_established():
            account.ended = numbers
        # A collision says nothing of the speaker that was refused before it.
        if numbers != COLLISION or not account.refusal:
            words = shutdown_words(data) if numbers in (SHUTDOWN, RESET) else ""  # RFC 9003
            why = f": {words}" if words else ""
            self._accounts.say(peer.ip_address, f"{direction} {error_text(*numbers)}{why}")

    def _ended(self, neighbour: str, reason: str) -> None:
        said = self._accounts.of(neighbour).error
        if not said or said.startswith(RECEIVED):  # a NOTIFICATION says more
            self._accounts.say(neighbour, reason[:1].lower() + reason[1:].rstrip("."))
