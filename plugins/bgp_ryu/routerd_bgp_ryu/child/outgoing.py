"""Which neighbours get a best path, and what waits for them (RFC 4271 section 9.1.3).

This module replaces the library's own way. The library sends an UPDATE for each prefix. It queues a
withdrawal behind the announcement that replaces the withdrawn path, leaves a path with the neighbour that
has become the source of a better one, and never withdraws a path that it has queued and not sent yet.
"""

import logging
import socket
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from ipaddress import IPv4Network
from typing import Any

import attrs
import eventlet
from os_ken.services.protocols.bgp import peer
from os_ken.services.protocols.bgp.info_base import ipv4

from routerd_bgp_ryu.child.attributes import Audience, Template, order, originator, template
from routerd_bgp_ryu.child.osken import Library, packet
from routerd_bgp_ryu.child.outbox import Best, Outbox
from routerd_bgp_ryu.packing import END_OF_RIB, announcements, wire, withdrawals

_LOG = logging.getLogger("routerd.bgp")
_CHUNK = 64 << 10
"""Octets after which other green threads have their turn: keepalives, above all."""

Templates = Callable[[Best, Audience], Template]


def templates(cluster_id: str) -> Templates:
    """Return `template` for a cluster, with a memory of at most 4 MB: many neighbours get the same.

    The identities of a path's attributes tell paths apart (`Best`). The memory keeps the path too, so that
    other attributes never have the same identities.
    """
    return lru_cache(maxsize=1024)(partial(template, cluster_id))


@attrs.frozen
class Raw:
    """Octets that the library sends as one message."""

    type: int
    content: bytes

    def serialize(self) -> bytes:
        """Return the octets."""
        return self.content

    def __str__(self) -> str:
        return f"{len(self.content)} octets of UPDATE"


def best_of(path: Library) -> Best:
    """Return a best path with the facts that decide where it goes: its source and communities (RFC 1997)."""
    source = path.source
    given = path.get_pattr(packet.BGP_ATTR_TYPE_COMMUNITIES)
    communities = frozenset(given.communities if given is not None else ())
    known = packet.BGPPathAttributeCommunities
    return Best(
        path=path,
        source=source,
        prefix=wire(IPv4Network(path.nlri.formatted_nlri_str)),
        originator=originator(path),
        internal=source is not None and not source.is_ebgp_peer(),
        of_client=source is not None and source.is_route_reflector_client,
        to_nobody=known.NO_ADVERTISE in communities,
        to_inside=not communities.isdisjoint((known.NO_EXPORT, known.NO_EXPORT_SUBCONFED)),
        key=(id(source), *map(id, path.pathattr_map.values())),
    )


class Outgoing(peer.Peer):  # type: ignore[misc]  # os-ken ships no types
    """The library's `Peer` with another half that sends.

    `complete`, of the class, says that this speaker has heard everything that its neighbours have.

    What complicates this:

    - A neighbour may read slowly, and a route may flap a thousand times before it does. One entry for each
      prefix waits, the newest, so that neither makes memory grow (`Outbox`).
    - Hundreds of neighbours get the same attributes. Prefixes whose attributes and next hop are equal share
      messages, and `template` writes each set of attributes once.
    - Only the next hop differs by session, and AS numbers have two octets for some neighbours (`Audience`).
    - Passed-on attributes can be too long for a message. The neighbour then gets a withdrawal, or it would
      keep the path with the attributes of before (RFC 4271 section 9.2).
    - The session may end at any send. A send that fails ends the session, so that no part is missing
      silently.
    - End-of-RIB must not go out before this speaker has heard its own neighbours: the other side would drop
      what it keeps from before our start (RFC 4724 section 2).
    """

    template: Templates
    complete = False

    def __init__(self, *arguments: Any) -> None:  # noqa: ANN401 - Any: the library's own, passed on
        self.outbox = Outbox()
        super().__init__(*arguments)

    def offer(self, best: Best) -> None:
        """Announce a path that is for this neighbour; otherwise withdraw what it has for the prefix."""
        if not self.in_established():
            return
        if best.is_for(
            self,
            external=self.is_ebgp_peer(),
            client=self.is_route_reflector_client,
            router_id=self.protocol.recv_open_msg.bgp_identifier,
        ):
            self.outbox.announce(best)
            self._wake()
        else:
            self.take_back(best.prefix)

    def take_back(self, prefix: bytes) -> None:
        """Withdraw a prefix if this neighbour has it."""
        if self.in_established() and self.outbox.withdraw(prefix):
            self._wake()

    def _wake(self) -> None:
        # To set an event again costs as much as all the rest.
        if not self.outgoing_msg_event.is_set():
            self.outgoing_msg_event.set()

    # --- in the place of the library's -----------------------------------------------------------

    def comm_all_best_paths(self, global_tables: Library) -> None:
        """Offer every best path: the session has just come up."""
        for table in global_tables.values():
            for best in _bests(table):
                self.offer(best)
        self.tell_complete()

    def tell_complete(self) -> None:
        """Send End-of-RIB behind what waits, if nothing else is to come."""
        if self.complete and self.in_established():
            self.enque_outgoing_msg(Raw(packet.BGP_MSG_UPDATE, END_OF_RIB))

    def _fire_route_refresh(self, family: Library) -> None:
        """Send again what this neighbour has: it asked for a refresh (RFC 2918)."""
        for best in _bests(self._core_service.table_manager.get_global_table_by_route_family(family)):
            if best.prefix in self.outbox.held:
                self.outbox.pending.setdefault(best.prefix, best)
        self._wake()

    def communicate_path(self, path: Library) -> None:
        """Do nothing: `Reflected` offers best paths."""

    def enque_outgoing_msg(self, message: Library) -> None:
        """Queue a message that is not a route: End-of-RIB, ROUTE-REFRESH."""
        self.outbox.others.append(message)
        self._wake()

    enque_first_outgoing_msg = enque_outgoing_msg

    def clear_outgoing_msg_list(self) -> None:
        """Drop what waits: the session is over."""
        self.outbox.clear()

    def _process_outgoing_msg_list(self) -> None:
        """Send what waits, until the library kills the green thread."""
        while True:
            protocol = self.protocol
            if protocol is None or not (self.outbox.pending or self.outbox.others):
                self.outgoing_msg_event.clear()
                self.outgoing_msg_event.wait()
                continue
            try:
                self._send(protocol)
            except Exception as error:  # noqa: BLE001 - the library raises its own kinds when a session has just ended
                _LOG.warning("%s: cannot send: %s", self.ip_address, error)
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
            if self.protocol is not protocol:
                return
        self._write(protocol, chunk)
        for message in others:
            if message.type == packet.BGP_MSG_ROUTE_REFRESH:
                self._send_outgoing_route_refresh_msg(message)
            else:
                protocol.send(message)

    def _write(self, protocol: Library, messages: list[bytes]) -> None:
        if messages:
            protocol.send(Raw(packet.BGP_MSG_UPDATE, b"".join(messages)))
            self.state.incr("sent_updates", len(messages))
            eventlet.sleep(0)

    def _updates(self, protocol: Library, waiting: dict[bytes, Best | None]) -> Iterator[bytes]:
        """Yield UPDATEs for what waits: withdrawals first, then by attributes."""
        audience = Audience(
            wide=self.is_four_octet_as_number_cap_valid(),
            local_asn=self.local_as if self.is_ebgp_peer() else None,
        )
        own = protocol._localname[0]  # noqa: SLF001 - there is no public way to it
        yield from withdrawals([prefix for prefix, best in waiting.items() if best is None])
        # Of equal keys the attributes and the next hop are the same objects. To compare keys is the
        # cheapest way.
        alike: dict[tuple[int, ...], list[Best]] = {}
        for best in waiting.values():
            if best is not None:
                alike.setdefault(best.key, []).append(best)
        groups: dict[tuple[Template, str], list[bytes]] = {}
        for best, *others in alike.values():
            look = (self.template(best, audience), self._next_hop(best, own))
            groups.setdefault(look, []).extend(each.prefix for each in (best, *others))
        for (made, next_hop), prefixes in groups.items():
            try:
                yield from announcements(made.filled(socket.inet_aton(next_hop)), prefixes)
            except ValueError as error:
                _LOG.warning("%s: attributes are too long: %s", self.ip_address, error)
                self.outbox.held.difference_update(prefixes)
                yield from withdrawals(prefixes)

    def _next_hop(self, best: Best, own: str) -> str:
        """Return the next hop for a path (RFC 4271 section 5.1.3); `own` is our address on the session."""
        path = best.path
        if best.source is None:
            return str(path.nexthop) if path.has_nexthop() else own
        return own if self.is_ebgp_peer() or self._neigh_conf.is_next_hop_self else str(path.nexthop)


class Reflected(ipv4.IPv4Dest):  # type: ignore[misc]  # os-ken ships no types
    """The library's destination; it offers its best path to every neighbour.

    `holds` says of a neighbour's address and a prefix whether the path stays although the session was lost.
    """

    holds: Callable[[str, str], bool]
    best: Best | None = None

    def _compute_best_known_path(self) -> tuple[Library, str]:
        """Return the path to reflect, the oldest of equal ones (RFC 5004)."""
        first, *others = self._known_path_list
        return min(self._known_path_list, key=order) if others else first, ""

    def _new_best_path(self, path: Library) -> None:
        self._best_path = path
        self.best = best_of(path)
        for each in self._core_service.peer_manager.iterpeers:
            each.offer(self.best)

    def _best_path_lost(self) -> None:
        self._best_path = None
        gone, self.best = self.best, None
        if gone is not None:
            for each in self._core_service.peer_manager.iterpeers:
                each.take_back(gone.prefix)

    # The library looks at withdrawals first and at new paths after them. A path that is announced and
    # withdrawn, or announced and lost with its session, before it looks, would stay. So the newest message
    # counts.

    def add_new_path(self, path: Library) -> None:
        """Take a path, in the place of those that lost sessions left behind."""
        known = self._known_path_list
        known[:] = [each for each in known if each.source is path.source or not _is_lost(each)]
        self._forget(path.source)
        super().add_new_path(path)

    def add_withdraw(self, withdraw: Library) -> None:
        """Take a withdrawal, also of a path that still waits."""
        self._forget(withdraw.source)
        super().add_withdraw(withdraw)

    def remove_old_paths_from_source(self, source: Library) -> list[Library]:
        """Remove the paths of a lost session, unless `holds` keeps the only one."""
        alone = all(path.source is source for path in self._known_path_list)
        if alone and self.holds(source.ip_address, self.nlri_str):
            return []
        removed: list[Library] = super().remove_old_paths_from_source(source)
        return removed + self._forget(source)

    def _forget(self, source: Library) -> list[Library]:
        """Drop and return the paths of a source that wait for the library's look."""
        waiting = self._new_path_list
        gone = [path for path in waiting if path.source is source]
        if gone:
            waiting[:] = [path for path in waiting if path.source is not source]
        return gone

    # The library compares descriptions in words, for every link of its queue.
    __eq__ = object.__eq__
    __ne__ = object.__ne__
    __hash__ = object.__hash__


def _bests(table: Library) -> list[Best]:
    """Return the best paths of a table; only a table of `Reflected` has some."""
    found = (getattr(destination, "best", None) for destination in list(table.values()))
    return [best for best in found if best is not None]


def _is_lost(path: Library) -> bool:
    """Say whether a path is of a lost session: the library numbers the sessions of a neighbour."""
    return path.source is not None and path.source_version_num < path.source.version_num
