"""Which neighbours get a best path, and what waits to be sent: RFC 4271 section 9.1.3.

It takes the place of the library's own, which sends an UPDATE for each prefix, queues a withdrawal
behind the announcement that replaces the withdrawn path, leaves a path with the neighbour that has become
the source of a better one, and never withdraws what it had queued but not sent yet. Here what waits for a
neighbour is one entry for each prefix, the newest, so that a flapping route takes no more memory than a
quiet one, and what is equal in its attributes shares a message.
"""

from __future__ import annotations

import logging
import socket
from collections import OrderedDict
from collections.abc import Iterator
from ipaddress import IPv4Network
from typing import Any

import eventlet

from routerd_bgp_ryu.child.attributes import Audience, Template, order, originator, template
from routerd_bgp_ryu.child.outbox import Best, Outbox
from routerd_bgp_ryu.child.quirks import Library
from routerd_bgp_ryu.packing import END_OF_RIB, announcements, wire, withdrawals

_LOG = logging.getLogger("routerd.bgp")
_CHUNK = 64 << 10
"""Bytes that are sent before other green threads have their turn: keepalives, above all."""

_TEMPLATES = 2048
"""Sets of attributes that are remembered as they look on the wire, and"""

_TEMPLATE_BYTES = 4 << 20
"""how many bytes of them: a neighbour chooses how long its own are, up to a whole message."""


class Templates:
    """Remembers how attributes look on the wire, for those who are sent the same."""

    def __init__(self, packet: Library, cluster_id: str) -> None:
        self._packet = packet
        self._cluster_id = cluster_id
        self._made: OrderedDict[tuple[Audience, tuple[int, ...]], tuple[Library, Template]] = OrderedDict()
        self._size = 0

    def of(self, best: Best, audience: Audience) -> Template:
        """Return the attributes of a path for an audience."""
        found = self._made.get((audience, best.key))
        if found is not None:
            return found[1]
        made = template(best, audience, self._cluster_id, self._packet)
        # The path is kept with it: the key consists of the identities of what it is made of.
        self._made[audience, best.key] = (best.path, made)
        self._size += made.size
        while len(self._made) > _TEMPLATES or self._size > _TEMPLATE_BYTES:
            _, (_, oldest) = self._made.popitem(last=False)
            self._size -= oldest.size
        return made


class Progress:
    """Whether what we have is all that there is, which neighbours are told once (RFC 4724 section 2).

    A speaker that has just started does not know yet what its neighbours have; told too early, they
    would drop what they keep of the time before.
    """

    complete = False


class Raw:
    """Bytes that the library sends as one message."""

    def __init__(self, kind: int, content: bytes) -> None:
        self.type = kind
        self._content = content

    def serialize(self) -> bytes:
        """Return the bytes."""
        return self._content

    def __str__(self) -> str:
        return f"{len(self._content)} bytes of UPDATE"


def best_of(path: Library, packet: Library) -> Best:
    """Work out what decides where a path goes: its source and its communities (RFC 1997)."""
    source = path.source
    given = path.get_pattr(packet.BGP_ATTR_TYPE_COMMUNITIES)
    communities = frozenset(given.communities if given is not None else ())
    known = packet.BGPPathAttributeCommunities
    return Best(
        path=path,
        source=source,
        prefix=wire(IPv4Network(path.nlri.formatted_nlri_str)),
        originator=originator(path, packet),
        internal=source is not None and not source.is_ebgp_peer(),
        of_client=source is not None and source.is_route_reflector_client,
        to_nobody=known.NO_ADVERTISE in communities,
        to_inside=not communities.isdisjoint((known.NO_EXPORT, known.NO_EXPORT_SUBCONFED)),
        key=(id(source), *map(id, path.pathattr_map.values())),
    )


class Outgoing:
    """The part of a neighbour that sends; mixed into the library's `Peer`, whose methods it replaces."""

    templates: Templates
    packet: Library
    progress: Progress
    outgoing_msg_event: Library

    def __init__(self, *arguments: Any) -> None:  # noqa: ANN401 - Any: the library's own, passed on
        self.outbox = Outbox()
        super().__init__(*arguments)

    @property
    def _self(self) -> Library:
        return self  # the library's half has no types

    def offer(self, best: Best) -> None:
        """Announce a path if it is for this neighbour, and withdraw what it has for the prefix if not."""
        if not self._self.in_established():
            return
        if self._is_for_us(best):
            self.outbox.announce(best)
            self._wake()
        else:
            self.take_back(best.prefix)

    def take_back(self, prefix: bytes) -> None:
        """Withdraw a prefix if this neighbour has it."""
        if self._self.in_established() and self.outbox.withdraw(prefix):
            self._wake()

    def _wake(self) -> None:
        # To set it again costs as much as all the rest.
        if not self.outgoing_msg_event.is_set():
            self.outgoing_msg_event.set()

    def _is_for_us(self, best: Best) -> bool:
        me = self._self
        return best.is_for(
            me,
            external=me.is_ebgp_peer(),
            client=me.is_route_reflector_client,
            router_id=me.protocol.recv_open_msg.bgp_identifier,
        )

    # --- in the place of the library's -----------------------------------------------------------

    def comm_all_best_paths(self, global_tables: Library) -> None:
        """Offer every best path: the session has just come up."""
        for table in global_tables.values():
            for destination in list(table.values()):
                best = getattr(destination, "best", None)
                if best is not None:
                    self.offer(best)
        self.tell_complete()

    def tell_complete(self) -> None:
        """Say End-of-RIB behind what waits, if there is no more to come."""
        if self.progress.complete and self._self.in_established():
            self.enque_outgoing_msg(Raw(self.packet.BGP_MSG_UPDATE, END_OF_RIB))

    def _fire_route_refresh(self, family: Library) -> None:
        """Send again what this neighbour has: it asked for a refresh (RFC 2918)."""
        table = self._self._core_service.table_manager.get_global_table_by_route_family(family)  # noqa: SLF001 - as above
        for destination in list(table.values()):
            best = getattr(destination, "best", None)
            if best is not None and best.prefix in self.outbox.held:
                self.outbox.pending.setdefault(best.prefix, best)
        self._wake()

    def communicate_path(self, path: Library) -> None:
        """Do nothing: `Reflected` offers best paths."""

    def enque_outgoing_msg(self, message: Library) -> None:
        """Queue a message other than a route of ours: End-of-RIB, ROUTE-REFRESH."""
        self.outbox.others.append(message)
        self._wake()

    enque_first_outgoing_msg = enque_outgoing_msg

    def clear_outgoing_msg_list(self) -> None:
        """Forget what was to be sent: the session is over."""
        self.outbox.clear()

    def _process_outgoing_msg_list(self) -> None:
        """Send what waits, until the green thread is killed."""
        while True:
            protocol = self._self.protocol
            if protocol is None or not (self.outbox.pending or self.outbox.others):
                self.outgoing_msg_event.clear()
                self.outgoing_msg_event.wait()
                continue
            try:
                self._send(protocol)
            except Exception as error:  # noqa: BLE001 - the library raises its own kinds when a session has just ended
                # The session ends rather than to miss a part of what it should have been told.
                _LOG.warning("%s: cannot send: %s", self._self.ip_address, error)
                protocol.connection_lost(f"cannot send: {error}")

    def _send(self, protocol: Library) -> None:
        others, self.outbox.others = self.outbox.others, []
        chunk, size = [], 0
        for message in self._updates(protocol, self.outbox.take()):
            chunk.append(message)
            size += len(message)
            if size >= _CHUNK:
                self._write(protocol, chunk)
                chunk, size = [], 0
            if self._self.protocol is not protocol:
                return
        self._write(protocol, chunk)
        for message in others:
            if message.type == self.packet.BGP_MSG_ROUTE_REFRESH:
                self._self._send_outgoing_route_refresh_msg(message)  # noqa: SLF001 - the library's own half
            else:
                protocol.send(message)

    def _write(self, protocol: Library, messages: list[bytes]) -> None:
        if messages:
            protocol.send(Raw(self.packet.BGP_MSG_UPDATE, b"".join(messages)))
            self._self.state.incr("sent_updates", len(messages))
            eventlet.sleep(0)

    def _updates(self, protocol: Library, waiting: dict[bytes, Best | None]) -> Iterator[bytes]:
        """Yield UPDATEs for what waits: withdrawals first, then by attributes."""
        me = self._self
        audience = Audience(
            wide=me.is_four_octet_as_number_cap_valid(), local_asn=me.local_as if me.is_ebgp_peer() else None
        )
        own = protocol._localname[0]  # noqa: SLF001 - there is no public way to it
        gone: list[bytes] = []
        groups: dict[tuple[Template, str], list[bytes]] = {}
        for prefix, best in waiting.items():
            if best is None:
                gone.append(prefix)
            else:
                alike = (self.templates.of(best, audience), self._next_hop(best, own))
                groups.setdefault(alike, []).append(prefix)
        yield from withdrawals(gone)
        for (made, next_hop), prefixes in groups.items():
            try:
                yield from announcements(made.filled(socket.inet_aton(next_hop)), prefixes)
            except ValueError as error:
                # What was sent of them before was with other attributes (RFC 4271 section 9.2).
                _LOG.warning("%s: attributes of %d bytes: %s", me.ip_address, made.size, error)
                self.outbox.held.difference_update(prefixes)
                yield from withdrawals(prefixes)

    def _next_hop(self, best: Best, own: str) -> str:
        """Return the next hop for a path: RFC 4271 section 5.1.3."""
        path, me = best.path, self._self
        if best.source is None:
            return str(path.nexthop) if path.has_nexthop() else own
        if me.is_ebgp_peer() or me._neigh_conf.is_next_hop_self:  # noqa: SLF001 - there is no public way to it
            return own
        return str(path.nexthop)


class Reflected:
    """A destination that offers its best path to every neighbour; mixed into the library's `IPv4Dest`."""

    packet: Library
    best: Best | None = None
    _best_path: Library
    _known_path_list: list[Library]
    _core_service: Library

    def _compute_best_known_path(self) -> tuple[Library, str]:
        """Return the path to reflect; of equal ones the oldest (RFC 5004)."""
        return min(self._known_path_list, key=lambda path: order(path, self.packet)), ""

    def _new_best_path(self, path: Library) -> None:
        self._best_path = path
        self.best = best_of(path, self.packet)
        for peer in self._core_service.peer_manager.iterpeers:
            peer.offer(self.best)

    def _best_path_lost(self) -> None:
        self._best_path = None
        gone, self.best = self.best, None
        if gone is not None:
            for peer in self._core_service.peer_manager.iterpeers:
                peer.take_back(gone.prefix)

    # The library compares descriptions in words, for every link of its queue.
    __eq__ = object.__eq__
    __ne__ = object.__ne__
    __hash__ = object.__hash__


def install(peers: Library, table: Library, packet: Library, cluster_id: str, progress: Progress) -> None:
    """Make the library's module of neighbours and its IPv4 table use ours, from now on."""
    shared = {"packet": packet, "templates": Templates(packet, cluster_id), "progress": progress}
    peers.Peer = type("Peer", (Outgoing, peers.Peer), shared)
    table.VPN_DEST_CLASS = type("Destination", (Reflected, table.VPN_DEST_CLASS), {"packet": packet})
