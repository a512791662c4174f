"""The speaker: its parts put together, and the library's signals led to them."""

from collections.abc import Callable

from routerd.model.session import Speaker
from routerd_bgp_ryu.child.accounts import Accounts
from routerd_bgp_ryu.child.engine import Engine, identity_of
from routerd_bgp_ryu.child.gate import Gate
from routerd_bgp_ryu.child.learned import Learned
from routerd_bgp_ryu.child.malformed import Malformed
from routerd_bgp_ryu.child.osken import Library
from routerd_bgp_ryu.child.outgoing import Outgoing
from routerd_bgp_ryu.child.quirks import Handshakes
from routerd_bgp_ryu.child.restart import Graceful
from routerd_bgp_ryu.child.sessions import Sessions


class BgpSpeaker:
    """A running speaker; it calls `changed` from its green threads.

    The owner of each part of a session::

        TCP ── Handshakes ── Gate ── Reader ── screen ──┐         deadline, who may speak, what is well-formed
                               │                        ▼
            Sessions ◄─────────┘     the library's Neighbour      state machine, timers, Adj-RIB-In
            expected speaker,            │          │
            dialing, errors              ▼          ▼
            (Accounts)        ImportFilter          table ── Reflected ── Outgoing (one a Peer) ── TCP
                               │                    Graceful: paths that      best path, whom it goes to,
                               ▼                    outlive a session         packed (Outbox, packing)
                         Learned ◄── Malformed
                         policies, StaleRoutes ── snapshot ── the daemon

    A session is made by `Sessions` (configured), opened by the library after `Gate` has asked
    `Sessions.judge`, filled by `Learned`, and ended by either end; `_down` then says how it ended to
    `Learned`, which keeps or drops its routes.

    `stale` are the seconds for which routes of a lost session are kept. `again` says that a speaker before
    this one was killed, so that the kernel still has its routes.
    """

    def __init__(
        self, speaker: Speaker, changed: Callable[[], None], *, stale: float, again: bool = False
    ) -> None:
        self._changed = changed
        self.engine = Engine(speaker)
        self._accounts = Accounts(changed)
        malformed, graceful = Malformed(), Graceful(stale, forwards=again)
        self.learned = Learned(self.engine, self._accounts, stale, graceful, malformed, changed)
        self.sessions = Sessions(self.engine, self._accounts, self.learned, graceful, malformed, changed)
        self.engine.start(self.sessions.stranger, graceful.holds)
        self.engine.listen(self._up, self._down, self.learned.heard, self.sessions.notified)
        self._handshakes = Handshakes(self.engine.core, speaker.port, self.sessions.patience)
        Gate.sessions, Gate.learned = self.sessions, self.learned
        self.engine.core.protocol = Gate
        self.engine.core.build_protocol = self._handshakes.build

    def settle(self) -> None:
        """Tell every neighbour, now and when its session comes up, that what it was sent is everything."""
        Outgoing.complete = True
        for _, peer in self.engine.established():
            peer.tell_complete()

    def settles(self) -> float | None:
        """Return when a neighbour was last heard, if every session is up; none while one is not."""
        up = bool(self.sessions.configured) and self.sessions.all_established()
        return self.learned.last_heard if up else None

    def check(self) -> None:
        """Do what has to be done now and then."""
        self._handshakes.check()
        self.learned.check()

    def stop(self) -> None:
        """Close every session with a Cease and stop."""
        self.sessions.end_all()
        self.engine.stop()

    # --- signals of the library ------------------------------------------------------------------

    def _up(self, peer: Library) -> None:
        opened = peer.protocol.recv_open_msg
        self._accounts.up(peer.ip_address, identity_of(opened))
        self.learned.up(peer)
        self._changed()

    def _down(self, peer: Library) -> None:
        account = self._accounts.down(peer.ip_address)
        self.learned.lost(peer, account.ended)
        self._changed()
