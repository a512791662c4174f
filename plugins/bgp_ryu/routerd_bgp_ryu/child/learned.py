"""What neighbours announce: what the import policies let in, what they refuse, what outlives its session.

A route of a neighbour is here in one of four places: in the library's Adj-RIB-In, let in or refused by the
session's `ImportFilter`; among the `Malformed`; or in `StaleRoutes`, when its session was lost. `snapshot`
tells the daemon of all four. The library reflects what was let in; `Graceful` says what it reflects on of a
lost session.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator

from routerd.model.session import ImportPolicy
from routerd_bgp_ryu.child.accounts import Accounts
from routerd_bgp_ryu.child.attributes import described
from routerd_bgp_ryu.child.engine import Engine
from routerd_bgp_ryu.child.import_filter import ImportFilter, refusal_of
from routerd_bgp_ryu.child.malformed import Malformed
from routerd_bgp_ryu.child.osken import Library, packet
from routerd_bgp_ryu.child.restart import Graceful, StaleRoutes, is_goodbye
from routerd_bgp_ryu.screen import Verdict
from routerd_bgp_ryu.wire import Document

_NOTHING = ImportPolicy(max_prefixes=0)
"""The policy of a neighbour that has none."""

_FLOOD = 1000
"""Prefixes above a policy's limit, refused ones included, at which the speaker ends the session."""


class Learned:
    """Routes by neighbour, as the library, its filters and the lost sessions have them.

    What complicates this:

    - The library keeps what a policy refuses, so that a new policy can judge it again; memory has to be
      bounded.
    - A path that loses its place below `max_prefixes` leaves room for one that waits (`check`).
    - A lost session's paths are kept twice: here for the daemon, and in the library's table for others
      that have them by reflection. The two end at different times (see `restart`).
    - A deleted peer's paths stay in the library's table; a filter that refuses everything takes them out
      first.
    """

    def __init__(
        self,
        engine: Engine,
        accounts: Accounts,
        stale: float,
        graceful: Graceful,
        malformed: Malformed,
        changed: Callable[[], None],
    ) -> None:
        self.policies: dict[str, ImportPolicy] = {}
        self.last_heard = 0.0
        self._engine = engine
        self._accounts = accounts
        self._graceful = graceful
        self._malformed = malformed
        self._stale: StaleRoutes[Library] = StaleRoutes(stale)
        self._complete: set[str] = set()
        self._changed = changed

    # --- policies --------------------------------------------------------------------------------

    def set_policy(self, neighbour: str, policy: ImportPolicy | None) -> None:
        """Set or drop an import policy; it judges again what the neighbour has sent already."""
        if policy is None:
            self.policies.pop(neighbour, None)
        else:
            self.policies[neighbour] = policy
        peer = self._engine.peer(neighbour)
        if peer is None:
            return
        self.expect(peer)
        kept = [prefix for whose, prefix, _ in self._kept() if whose == neighbour]
        if self._graceful.narrow(neighbour, kept):
            self._engine.forget_lost(peer)
        self._changed()

    def expect(self, peer: Library) -> None:
        """Filter what a peer sends by its policy; without one, nothing comes in."""
        before = peer.in_filters[0] if peer.in_filters else None
        self._install(peer, self._policy(peer.ip_address), before)

    def refuse_all(self, peer: Library) -> None:
        """Let nothing of a peer in, and take out what came in."""
        self._install(peer, _NOTHING)

    def _policy(self, neighbour: str) -> ImportPolicy:
        return self.policies.get(neighbour, _NOTHING)

    def _install(self, peer: Library, policy: ImportPolicy, before: ImportFilter | None = None) -> None:
        peer.in_filters = [ImportFilter(policy, packet.RF_IPv4_UC, before)]

    # --- a session's life ------------------------------------------------------------------------

    def up(self, peer: Library) -> None:
        """Begin a session's routes; take note of what its OPEN says of a restart."""
        neighbour, opened = peer.ip_address, peer.protocol.recv_open_msg
        # A speaker without the capability may never say End-of-RIB (RFC 4724 section 3).
        if packet.BGP_CAP_GRACEFUL_RESTART in opened.opt_param_cap_map:
            self._complete.discard(neighbour)
        else:
            self._complete.add(neighbour)
        if not self._graceful.up(neighbour, opened):
            self._reflect_no_more(peer)

    def heard(self, peer: Library) -> None:
        """Take note that a peer's routes have changed; end a session that sends without end."""
        self.last_heard = time.monotonic()
        self._stale.replaced(peer.ip_address, peer.adj_rib_in)
        limit = self._policy(peer.ip_address).max_prefixes + _FLOOD
        if len(peer.adj_rib_in) > limit and peer.protocol is not None:
            peer.protocol.send_notification(6, 1)
        self._changed()

    def complete(self, peer: Library) -> None:
        """Forget what is kept of a neighbour that has announced everything (RFC 4724 section 2)."""
        self._complete.add(peer.ip_address)
        self._stale.drop(peer.ip_address)
        self._reflect_no_more(peer)
        self._changed()

    def screened(self, peer: Library, verdict: Verdict) -> None:
        """Count what was wrong with an UPDATE, and say why its routes are withdrawn."""
        said = self._malformed.note(peer.ip_address, verdict)
        if said:
            self._accounts.say(peer.ip_address, said)
            self._changed()

    def lost(self, peer: Library, ended: tuple[int, int] | None) -> None:
        """Keep the routes of a lost session, unless the NOTIFICATION that ended it takes them along."""
        neighbour = peer.ip_address
        self._reflect_no_more(peer)
        if self._engine.peer(neighbour) is peer and not is_goodbye(ended):
            had = self._entered(peer)
            self._stale.keep(neighbour, had)
            if ended is None:
                self._graceful.lost(neighbour, had)
        else:
            self._stale.drop(neighbour)
        # The library keeps what a lost neighbour has sent; it must not count as learned any more.
        peer.adj_rib_in.clear()
        self._install(peer, self._policy(neighbour))
        self._malformed.drop(neighbour)

    def drop(self, peer: Library) -> None:
        """Forget everything of a peer that was taken out."""
        self._stale.drop(peer.ip_address)
        self._reflect_no_more(peer)
        self._malformed.drop(peer.ip_address)
        self._complete.discard(peer.ip_address)

    def _reflect_no_more(self, peer: Library) -> None:
        if self._graceful.leave(peer.ip_address):
            self._engine.forget_lost(peer)

    def check(self) -> None:
        """Fill free places below a maximum, and end what was kept long enough; to be called now and then."""
        for _, peer in self._engine.established():
            for prefix in peer.in_filters[0].waiting():
                received = peer.adj_rib_in[prefix]
                received.filtered = peer._apply_in_filter(received.path)[0]  # noqa: SLF001 - there is no public way to it
                if not received.filtered:
                    self._engine.learn(received.path)
                    self._changed()
        for neighbour in self._graceful.over():
            self._reflect_no_more(self._engine.peer(neighbour))
        if self._stale.expire():
            self._changed()

    # --- what the daemon is told -----------------------------------------------------------------

    def snapshot(self, *, complete: bool) -> Document:
        """Return all that the daemon decides by: routes, what was refused, our own prefixes."""
        routes: list[Document] = []
        rejected: list[Document] = []
        heard: list[str] = []
        for neighbour, peer in self._engine.established():
            policy = self._policy(neighbour)
            routes += [described(path, neighbour, policy) for path in self._entered(peer).values()]
            rejected += self._refused(peer)
            if neighbour in self._complete:
                heard.append(neighbour)
        # A route of a lost session counts only where no session that is up announces the prefix.
        announced = {route["prefix"] for route in routes}
        for neighbour, prefix, path in self._kept():
            if prefix not in announced:
                routes.append(described(path, neighbour, self._policy(neighbour), stale=True))
        return {
            "routes": routes,
            "rejected": rejected,
            "heard": heard,
            "own": list(self._engine.advertisements),
            "refusals": self._accounts.refusals(),
            "complete": complete,
        }

    def tally(self, peer: Library) -> tuple[int, Counter[str]]:
        """Return how many prefixes of a session that is up came in, and how many were refused, by reason."""
        if peer is None or not peer.in_established():
            return 0, Counter()
        return len(self._entered(peer)), Counter(each["reason"] for each in self._refused(peer))

    def _kept(self) -> Iterator[tuple[str, str, Library]]:
        """Yield the routes of lost sessions that the policies of today let in."""
        for neighbour, prefix, path in self._stale.all():
            if refusal_of(path, self._policy(neighbour)) is None:
                yield neighbour, prefix, path

    @staticmethod
    def _entered(peer: Library) -> dict[str, Library]:
        """Return the paths that were let in, by prefix."""
        return {
            prefix: received.path
            for prefix, received in sorted(peer.adj_rib_in.items())
            if not received.filtered
        }

    def _refused(self, peer: Library) -> list[Document]:
        import_filter, neighbour = peer.in_filters[0], peer.ip_address
        refused: list[Document] = [
            {"prefix": prefix, "neighbour": neighbour, "reason": import_filter.reason(prefix)}
            for prefix, received in sorted(peer.adj_rib_in.items())
            if received.filtered
        ]
        return refused + list(self._malformed.rejected(neighbour, peer.adj_rib_in))
