"""os-ken's (or Ryu's) speaker behind the few verbs that the fabric needs."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from ipaddress import IPv4Address, IPv4Network

import attrs

from routerd.model.session import Advertisement, ImportPolicy, Session, Speaker
from routerd_bgp_ryu.child import outgoing
from routerd_bgp_ryu.child.accounts import Accounts
from routerd_bgp_ryu.child.attributes import described, originated
from routerd_bgp_ryu.child.gate import Gate
from routerd_bgp_ryu.child.graceful import Graceful
from routerd_bgp_ryu.child.import_filter import ImportFilter
from routerd_bgp_ryu.child.malformed import RECEIVED, Malformed
from routerd_bgp_ryu.child.mended import bgp, library, mend
from routerd_bgp_ryu.child.quirks import Dialer, Handshakes, Library, end_with
from routerd_bgp_ryu.child.stale import StaleRoutes, is_goodbye
from routerd_bgp_ryu.identity import Identity, mismatch, router_id_in
from routerd_bgp_ryu.import_policy import NOT_OWNED, refusal
from routerd_bgp_ryu.notification import error_text
from routerd_bgp_ryu.screen import Fault, Terms, Verdict, shutdown_words
from routerd_bgp_ryu.wire import Document

_LOG = logging.getLogger("routerd.bgp")
_LOWEST_HOLD = 10
_OPEN_DEADLINE = 10.0
"""Seconds for a connection to become a session, where the hold time is not longer."""
_NOBODY = ImportPolicy(max_prefixes=0)
_REJECTED = (6, 5)
_SHUTDOWN = (6, 2)
_DECONFIGURED = (6, 3)
_RECONFIGURED = (6, 6)
_RESET = (6, 4)
_COLLISION = (6, 7)
_STRANGERS = 1000
"""Addresses of strangers that are remembered, so that each is logged once."""
_FLOOD = 1000
"""Prefixes above a policy's limit, rejected ones included, at which the session is closed."""


def _without_labels(session: Session) -> Session:
    """Return what of a session the library is told; the router ID is compared here."""
    return attrs.evolve(session, owner="", leaf="", claim="", peer_router_id=None)


class BgpSpeaker:
    """The running speaker and what it was told; `changed` is called from its green threads.

    Routes of a session that is lost are kept for `stale` seconds. `again` says that a speaker before
    this one has died, whose routes the kernel still has.
    """

    def __init__(
        self, speaker: Speaker, changed: Callable[[], None], *, stale: float, again: bool = False
    ) -> None:
        self.speaker = speaker
        self.sessions: dict[str, Session] = {}
        self.policies: dict[str, ImportPolicy] = {}
        self.advertisements: dict[str, Advertisement] = {}
        self.last_heard = 0.0
        self._changed = changed
        self._accounts = Accounts(changed)
        self._stale = StaleRoutes(stale)
        self._malformed = Malformed()
        self._strangers: set[str] = set()
        self._api = bgp("api.base")
        self._manager = bgp("core_manager").CORE_MANAGER
        self._packet = library("lib.packet.bgp")
        self._graceful = Graceful(self._packet, stale, forwards=again)
        signals = bgp("signals.emit").BgpSignalBus
        self._activity = bgp("base").Activity
        self._paths = bgp("info_base.ipv4").Ipv4Path
        mend(self._stranger, self._graceful.holds)
        cluster_id = str(speaker.cluster_id or speaker.router_id)
        table = bgp("info_base.ipv4").Ipv4Table
        peers = bgp("core_managers.peer_manager")
        self._progress = outgoing.install(peers, table, self._packet, cluster_id)
        hosts = (str(speaker.listen),) if speaker.listen else ("0.0.0.0",)  # noqa: S104 - what a file asks for
        self._bgp = bgp("bgpspeaker").BGPSpeaker(
            as_number=speaker.asn,
            router_id=str(speaker.router_id),
            bgp_server_hosts=hosts,
            bgp_server_port=speaker.port,
            cluster_id=cluster_id,
        )
        bus = self._core._signal_bus  # noqa: SLF001 - the library offers no public way to the bus
        bus.register_listener(signals.BGP_ADJ_UP, lambda _, info: self._up(info["peer"]))
        bus.register_listener(signals.BGP_ADJ_DOWN, lambda _, info: self._down(info["peer"]))
        bus.register_listener(signals.BGP_ADJ_RIB_IN_CHANGED, lambda _, info: self._heard(info["peer"]))
        # The bus matches whole identifiers, and these two end in the peer: no listener ever fits.
        bus.bgp_error = lambda peer, code, subcode, _: self._note(peer, code, subcode, "sent")
        bus.bgp_notification_received = lambda peer, message: self._note(
            peer, message.error_code, message.error_subcode, "received", shutdown_words(message.data)
        )
        self._handshakes = Handshakes(self._core, speaker.port, self._patience)
        self._gate = Gate(self._packet, self)
        self._core.build_protocol = lambda connection: self._gate.guard(self._handshakes.build(connection))

    @property
    def _core(self) -> Library:
        return self._manager.get_core_service()

    # --- what the daemon asks for --------------------------------------------------------------------

    def set_policy(self, neighbour: str, policy: ImportPolicy | None) -> None:
        """Set or drop an import policy; what the neighbour has sent already is looked at again."""
        if policy is None:
            self.policies.pop(neighbour, None)
        else:
            self.policies[neighbour] = policy
        if neighbour in self.sessions:
            self._install_policy(neighbour)
            kept = [route["prefix"] for route in self.stale_routes() if route["neighbour"] == neighbour]
            if self._graceful.narrow(neighbour, kept):
                self._core.table_manager.clean_stale_routes(self._peer(neighbour))
            self._changed()

    def add_session(self, neighbour: str, session: Session) -> None:
        """Add a session; until it has a policy, nothing comes in."""
        try:
            self._create(neighbour, session)
        except Exception:  # whatever the library raises, a neighbour by halves must not stay
            if self._peer(neighbour) is not None:
                self._bgp.neighbor_del(neighbour)
            raise
        self._prepare(neighbour, session)

    def _create(self, neighbour: str, session: Session) -> None:
        self._api.call(
            "neighbor.create",
            ip_address=neighbour,
            remote_as=session.peer_asn,
            remote_port=self.speaker.port,
            connect_mode="passive" if session.passive else "active",
            is_route_reflector_client=session.route_reflector_client,
            is_next_hop_self=session.next_hop_self,
            password=session.password,
            hold_time=max(session.timers.hold, _LOWEST_HOLD),
            cap_enhanced_refresh=False,
            cap_four_octet_as_number=True,
            cap_mbgp_ipv4=True,
        )

    def _prepare(self, neighbour: str, session: Session) -> None:
        peer = self._peer(neighbour)
        # The library refuses what RFC 4271 allows (3 s and more), but only when it reads settings.
        peer._neigh_conf._settings["hold_time"] = session.timers.hold  # noqa: SLF001 - no public way to it
        if not session.passive:
            # FRR, who keeps our routes then, waits to be dialed; where we wait too, nobody would.
            configured = peer._neigh_conf.get_configured_capabilities  # noqa: SLF001 - as above
            peer._neigh_conf.get_configured_capabilities = partial(self._capabilities, configured)  # noqa: SLF001 - as above
        source = str(session.source) if session.source else None
        peer._connect_tcp = Dialer(peer, source, partial(self._accounts.say, neighbour))  # noqa: SLF001 - as above
        peer.connection_lost = partial(self._lost, neighbour, peer.connection_lost)
        self.sessions[neighbour] = session
        self._tune()
        self._install_policy(neighbour)

    def _capabilities(self, configured: Callable[[], Library]) -> Library:
        """Return the capabilities of an OPEN that is made now."""
        ours = self._graceful.capability(complete=self._progress.complete)
        return configured() | {self._packet.BGP_CAP_GRACEFUL_RESTART: [ours]}

    def set_session(self, neighbour: str, session: Session) -> None:
        """Make a session be as wanted, without a reset where only labels or the router ID differ.

        One whose speaker is not the one that is now expected is ended all the same.
        """
        present = self.sessions.get(neighbour)
        if present is None:
            self.add_session(neighbour, session)
            return
        speaks = self._speaking(neighbour)
        fault = mismatch(speaks, session, self.speaker) if speaks is not None else None
        if fault is None and _without_labels(present) == _without_labels(session):
            self.sessions[neighbour] = session
            if present.peer_router_id != session.peer_router_id:
                self._accounts.forget_refusal(neighbour)
            return
        why = _RECONFIGURED if fault is None else _DECONFIGURED
        self.delete_session(neighbour, why)
        self.add_session(neighbour, session)
        if fault is not None and speaks is not None:
            self._accounts.refuse(neighbour, f"sent {error_text(*why)}: {fault.text}", speaks)

    def _speaking(self, neighbour: str) -> Identity | None:
        """Return who has the session with a neighbour now, from its OPEN on."""
        protocol = self._peer(neighbour).protocol
        opened = protocol.recv_open_msg if protocol is not None else None
        return self._gate.identity(opened) if opened is not None else None

    def delete_session(self, neighbour: str, why: tuple[int, int] = _DECONFIGURED) -> None:
        """Close a session with a Cease and forget its neighbour, and what it has sent."""
        peer = self._peer(neighbour)
        if peer.protocol is not None:
            end_with(peer.protocol, why)
        # The library leaves a deleted neighbour's routes in its table, and goes on reflecting them.
        peer.in_filters = [ImportFilter(_NOBODY, self._packet.RF_IPv4_UC)]
        self._bgp.neighbor_del(neighbour)
        # Nor does it stop what dials and sends for the neighbour: Peer.stop() forgets to.
        self._activity.stop(peer)
        self._core._stop_child_threads(peer.name)  # noqa: SLF001 - there is no public way to it
        self.sessions.pop(neighbour, None)
        self._accounts.drop(neighbour)
        self._stale.drop(neighbour)
        self._forget(peer)
        self._malformed.drop(neighbour)
        self._tune()
        self._changed()

    def _tune(self) -> None:
        """Set the retry time, which the library has for all neighbours together, to the shortest."""
        shortest = min((each.timers.connect_retry for each in self.sessions.values()), default=30)
        settings = self._core._common_config._settings  # noqa: SLF001 - there is no public way to it
        settings["bgp_conn_retry_time"] = max(1, shortest)
        settings["tcp_conn_timeout"] = int(_OPEN_DEADLINE)

    def _patience(self, neighbour: str) -> float:
        session = self.sessions.get(neighbour)
        return max(_OPEN_DEADLINE, session.timers.hold if session else 0)

    def advertise(self, prefix: str, advertisement: Advertisement) -> None:
        """Originate a prefix; without a next hop, it is the local address of each session."""
        packet, network = self._packet, IPv4Network(prefix)
        path = self._paths(
            None,
            packet.IPAddrPrefix(network.prefixlen, str(network.network_address)),
            1,
            pattrs=originated(advertisement, packet),
            nexthop=str(advertisement.next_hop or "0.0.0.0"),  # noqa: S104 - the library's "none"
        )
        self._core.table_manager.learn_path(path)
        self.advertisements[prefix] = advertisement

    def withdraw(self, prefix: str) -> None:
        """Withdraw a prefix."""
        self._bgp.prefix_del(prefix)
        self.advertisements.pop(prefix, None)

    def refusals(self) -> dict[str, str]:
        """Return by neighbour, in words, why a speaker is refused that came in its place."""
        return self._accounts.refusals()

    def settle(self) -> None:
        """Tell every neighbour, now and when its session comes up, that what it was sent is everything."""
        self._progress.complete = True
        for _, peer in self._established():
            peer.tell_complete()

    def check(self) -> None:
        """Do what has to be done now and then."""
        self._handshakes.check()
        self._use_room()
        for neighbour in self._graceful.over():
            self._forget(self._peer(neighbour))
        if self._stale.expire():
            self._changed()

    def stop(self) -> None:
        """Close every session with a Cease and stop."""
        for neighbour in list(self.sessions):
            self.delete_session(neighbour, _SHUTDOWN)
        self._bgp.shutdown()

    def _install_policy(self, neighbour: str) -> None:
        policy = self.policies.get(neighbour, _NOBODY)
        peer = self._peer(neighbour)
        if peer is not None:
            before = self._filter(peer)
            peer.in_filters = [ImportFilter(policy, self._packet.RF_IPv4_UC, before)]

    @staticmethod
    def _filter(peer: Library) -> ImportFilter | None:
        return peer.in_filters[0] if peer.in_filters else None

    def _use_room(self) -> None:
        """Let in what was above a maximum where there is room again."""
        for _, peer in self._established():
            import_filter = self._filter(peer)
            for prefix in import_filter.waiting() if import_filter is not None else ():
                received = peer.adj_rib_in[prefix]
                received.filtered = peer._apply_in_filter(received.path)[0]  # noqa: SLF001 - there is no public way to it
                if not received.filtered:
                    self._core.table_manager.learn_path(received.path)
                    self._changed()

    def _peer(self, neighbour: str) -> Library:
        return self._core.peer_manager.get_by_addr(neighbour)

    # --- who may speak ---------------------------------------------------------------------------

    def judge(self, peer: Library, opened: Identity) -> tuple[int, int] | None:
        """Return with which code an OPEN is refused; none when its sender is who is expected."""
        neighbour = peer.ip_address
        session = self.sessions.get(neighbour)
        if session is None or self._peer(neighbour) is not peer:
            return _REJECTED  # the session was taken back, or replaced, while the connection was made
        fault = mismatch(opened, session, self.speaker)
        if fault is None:
            return None
        self._accounts.refuse(neighbour, f"sent {error_text(*fault.code)}: {fault.text}", opened)
        return fault.code

    def _stranger(self, address: str, sent: bytes) -> None:
        """Say who dialed without being a neighbour, to the session that it was perhaps meant for."""
        router_id = router_id_in(sent)
        if address not in self._strangers and len(self._strangers) < _STRANGERS:
            self._strangers.add(address)
            _LOG.warning("%s is no configured neighbour (router ID %s): rejected", address, router_id)
        for neighbour, session in self.sessions.items():
            peer = self._peer(neighbour)
            if session.peer_router_id != router_id or router_id is None or peer.in_established():
                continue
            text = f"expected router ID {router_id} of {session.whose} from {neighbour}, came from {address}"
            self._accounts.refuse(neighbour, f"sent {error_text(*_REJECTED)}: {text}")

    # --- what is malformed -------------------------------------------------------------------------

    def terms(self, protocol: Library) -> Terms:
        """Return who the two sides of a connection are."""
        session = self.sessions.get(protocol._remotename[0])  # noqa: SLF001 - there is no public way to it
        return Terms(
            asn=self.speaker.asn,
            peer_asn=session.peer_asn if session is not None else 0,
            router_id=self.speaker.router_id,
            cluster_id=self.speaker.cluster_id or self.speaker.router_id,
            local=IPv4Address(protocol._localname[0]),  # noqa: SLF001 - as above
        )

    def complete(self, peer: Library) -> None:
        """Forget what is kept of a neighbour that has announced all that it has; called by the gate."""
        self._accounts.of(peer.ip_address).heard = True
        self._stale.drop(peer.ip_address)
        self._forget(peer)
        self._changed()

    def _forget(self, peer: Library) -> None:
        """Reflect no more what is kept of a lost session."""
        if self._graceful.leave(peer.ip_address):
            self._core.table_manager.clean_stale_routes(peer)

    def screened(self, peer: Library, verdict: Verdict) -> None:
        """Count what was wrong with an UPDATE, and say why its routes are withdrawn."""
        said = self._malformed.note(peer.ip_address, verdict)
        if said:
            self._accounts.say(peer.ip_address, said)
            self._changed()

    def failed(self, peer: Library, fault: Fault, *, bound: bool) -> None:
        """Say why a connection ends; one that is not the session's says nothing of the session."""
        neighbour = peer.ip_address
        said = f"sent {error_text(*fault.code)}: {fault.text}"
        self._malformed.fault(neighbour, said)
        if bound and peer.in_established():
            self._accounts.of(neighbour).ended = fault.code
        if bound or not (peer.in_established() or self._accounts.of(neighbour).refusal):
            self._accounts.say(neighbour, said)

    # --- what the speaker says ---------------------------------------------------------------------

    def _up(self, peer: Library) -> None:
        address = peer.ip_address
        opened = peer.protocol.recv_open_msg
        # Who does not know the capability may never say End-of-RIB (RFC 4724 section 3).
        says = self._packet.BGP_CAP_GRACEFUL_RESTART in opened.opt_param_cap_map
        self._accounts.up(address, self._gate.identity(opened), heard=not says)
        if not self._graceful.up(address, peer.protocol.recv_open_msg):
            self._forget(peer)
        self._changed()

    def _down(self, peer: Library) -> None:
        address = peer.ip_address
        self._accounts.down(address)
        ended = self._accounts.of(address).ended
        self._forget(peer)
        if address in self.sessions and not is_goodbye(ended):
            had = self._judged(address, peer)[0]
            self._stale.keep(address, had)
            if ended is None:
                self._graceful.lost(address, [route["prefix"] for route in had])
        else:
            self._stale.drop(address)
        # The library keeps what a lost neighbour has sent; it must not count as learned any more.
        peer.adj_rib_in.clear()
        policy = self.policies.get(address, _NOBODY)
        peer.in_filters = [ImportFilter(policy, self._packet.RF_IPv4_UC)]
        self._malformed.drop(address)
        self._changed()

    def _heard(self, peer: Library) -> None:
        self.last_heard = time.monotonic()
        self._stale.replaced(peer.ip_address, peer.adj_rib_in)
        limit = self.policies.get(peer.ip_address, _NOBODY).max_prefixes + _FLOOD
        if len(peer.adj_rib_in) > limit and peer.protocol is not None:
            # Even what is rejected is kept in memory, so a neighbour must not send without end.
            peer.protocol.send_notification(6, 1)
        self._changed()

    def _note(self, peer: Library, code: int, subcode: int | None, direction: str, words: str = "") -> None:
        numbers = int(code), int(subcode or 0)
        if peer is not None and peer.in_established():
            self._accounts.of(peer.ip_address).ended = numbers
        # A collision says nothing of who was refused before it.
        if peer is not None and not (numbers == _COLLISION and self._accounts.of(peer.ip_address).refusal):
            why = f": {words}" if words and numbers in (_SHUTDOWN, _RESET) else ""  # RFC 9003
            self._accounts.say(peer.ip_address, f"{direction} {error_text(*numbers)}{why}")

    def _lost(self, neighbour: str, lost: Callable[[str], None], reason: str) -> None:
        said = self._accounts.of(neighbour).error
        if not said or said.startswith(RECEIVED):  # a NOTIFICATION says more
            self._accounts.say(neighbour, reason[:1].lower() + reason[1:].rstrip("."))
        lost(reason)

    def _established(self) -> Iterator[tuple[str, Library]]:
        for neighbour in self.sessions:
            peer = self._peer(neighbour)
            if peer is not None and peer.in_established():
                yield neighbour, peer

    def routes(self) -> tuple[list[Document], list[Document]]:
        """Return the accepted and the rejected routes of every established neighbour."""
        accepted: list[Document] = []
        rejected: list[Document] = []
        for neighbour, peer in self._established():
            permitted, refused = self._judged(neighbour, peer)
            accepted += permitted
            rejected += refused
            rejected += self._malformed.rejected(neighbour, peer.adj_rib_in)
        return accepted, rejected

    def stale_routes(self) -> list[Document]:
        """Return what is kept of sessions that were lost, as far as it would still be accepted."""
        return [
            route
            for route in self._stale.all()
            if refusal(
                IPv4Network(route["prefix"]),
                self.policies.get(route["neighbour"], _NOBODY),
                frozenset(route["communities"]),
            )
            is None
        ]

    def _judged(self, neighbour: str, peer: Library) -> tuple[list[Document], list[Document]]:
        accepted: list[Document] = []
        rejected: list[Document] = []
        import_filter = self._filter(peer)
        for prefix, received in sorted(peer.adj_rib_in.items()):
            if received.filtered or import_filter is None:
                reason = NOT_OWNED if import_filter is None else import_filter.reason(prefix)
                rejected.append({"prefix": prefix, "neighbour": neighbour, "reason": reason})
            else:
                accepted.append(described(prefix, neighbour, received.path, self._packet))
        return accepted, rejected

    def heard(self) -> list[str]:
        """Return the established neighbours that have announced all that they have."""
        return [neighbour for neighbour, _ in self._established() if self._accounts.of(neighbour).heard]

    def states(self) -> list[Document]:
        """Return how each session does."""
        accepted, rejected = self.routes()
        took = Counter(route["neighbour"] for route in accepted)
        refused: dict[str, Counter[str]] = {}
        for route in rejected:
            refused.setdefault(route["neighbour"], Counter())[route["reason"]] += 1
        result: list[Document] = []
        for neighbour in self.sessions:
            peer = self._peer(neighbour)
            state = str(peer.state.bgp_state).lower() if peer is not None else "idle"
            account = self._accounts.of(neighbour)
            reasons = refused.get(neighbour, Counter())
            result.append(
                {
                    "neighbour": neighbour,
                    "state": state,
                    "since": account.since,
                    "remote_asn": account.who.asn if account.who else None,
                    "remote_router_id": str(account.who.router_id) if account.who else None,
                    "received": took[neighbour] + reasons.total(),
                    "accepted": took[neighbour],
                    "rejected": sorted(reasons.items()),
                    "advertised": len(peer.outbox.held) if peer is not None else 0,
                    "last_error": account.error,
                }
            )
        return result

    def all_established(self) -> bool:
        """Say whether every configured session is up."""
        return len(list(self._established())) == len(self.sessions)
