"""The library's speaker behind the few verbs that we need. No other module calls its managers.

`quirks` mends what the library does wrong; `outgoing` and `reader` do what it does not do at all.
"""

from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv4Network

from os_ken.services.protocols.bgp import base, bgpspeaker
from os_ken.services.protocols.bgp.api import base as api
from os_ken.services.protocols.bgp.core_manager import CORE_MANAGER
from os_ken.services.protocols.bgp.core_managers import peer_manager
from os_ken.services.protocols.bgp.info_base import ipv4
from os_ken.services.protocols.bgp.signals.emit import BgpSignalBus

from routerd.model.session import Advertisement, Session, Speaker
from routerd_bgp_ryu.child.attributes import originated
from routerd_bgp_ryu.child.neighbour import Neighbour
from routerd_bgp_ryu.child.osken import Library, packet
from routerd_bgp_ryu.child.outgoing import Outgoing, Reflected, templates
from routerd_bgp_ryu.child.quirks import mend
from routerd_bgp_ryu.identity import Identity

_LOWEST_HOLD = 10
"""Seconds: the shortest hold time that the library's settings take."""


class Engine:
    """The library's speaker; `peer` is what it calls its half of a session."""

    def __init__(self, speaker: Speaker) -> None:
        self.speaker = speaker
        self.advertisements: dict[str, Advertisement] = {}
        self._bgp: Library = None

    def start(self, stranger: Callable[[str, bytes], None], holds: Callable[[str, str], bool]) -> None:
        """Mend the library and make it listen; `stranger` is for `mend`, `holds` for `Reflected`."""
        speaker = self.speaker
        mend(stranger)
        cluster_id = str(speaker.cluster_id or speaker.router_id)
        Outgoing.template = staticmethod(templates(cluster_id))  # else it would be a method
        peer_manager.Peer = Neighbour
        Reflected.holds = holds
        ipv4.Ipv4Table.VPN_DEST_CLASS = Reflected
        hosts = (str(speaker.listen),) if speaker.listen else ("0.0.0.0",)  # noqa: S104 - what a file asks for
        self._bgp = bgpspeaker.BGPSpeaker(
            as_number=speaker.asn,
            router_id=str(speaker.router_id),
            bgp_server_hosts=hosts,
            bgp_server_port=speaker.port,
            cluster_id=cluster_id,
        )

    @property
    def core(self) -> Library:
        """Return the core of the library's speaker."""
        return CORE_MANAGER.get_core_service()

    # --- neighbours ------------------------------------------------------------------------------

    def peer(self, neighbour: str) -> Library:
        """Return the peer of a neighbour, or none."""
        return self.core.peer_manager.get_by_addr(neighbour)

    def established(self) -> Iterator[tuple[str, Library]]:
        """Yield the neighbours whose session is up."""
        for peer in list(self.core.peer_manager.iterpeers):
            if peer.in_established():
                yield peer.ip_address, peer

    def add(self, neighbour: str, session: Session) -> Library:
        """Make a peer; leave none behind where the library raises."""
        try:
            api.call(
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
        except Exception:  # whatever the library raises, a neighbour by halves must not stay
            if self.peer(neighbour) is not None:
                self._bgp.neighbor_del(neighbour)
            raise
        peer = self.peer(neighbour)
        # The library refuses what RFC 4271 allows (3 s and more), but only when it reads settings.
        peer._neigh_conf._settings["hold_time"] = session.timers.hold  # noqa: SLF001 - no public way to it
        return peer

    def remove(self, peer: Library) -> None:
        """Take a peer out; end what dials and sends for it, which the library forgets."""
        self._bgp.neighbor_del(peer.ip_address)
        base.Activity.stop(peer)
        self.core._stop_child_threads(peer.name)  # noqa: SLF001 - there is no public way to it

    def set_retry(self, retry: int, deadline: float) -> None:
        """Set the seconds between two attempts to dial and for one attempt, for all neighbours together."""
        settings = self.core._common_config._settings  # noqa: SLF001 - there is no public way to it
        settings["bgp_conn_retry_time"] = max(1, retry)
        settings["tcp_conn_timeout"] = int(deadline)

    def listen(
        self,
        up: Callable[[Library], None],
        down: Callable[[Library], None],
        heard: Callable[[Library], None],
        notified: Callable[..., None],
    ) -> None:
        """Call back with the peer whose session comes up, goes down, or has changed its routes.

        `notified` gets the peer, code and subcode of each NOTIFICATION, `sent` or `received`, and its data.
        """
        bus = self.core._signal_bus  # noqa: SLF001 - the library offers no public way to the bus
        bus.register_listener(BgpSignalBus.BGP_ADJ_UP, lambda _, info: up(info["peer"]))
        bus.register_listener(BgpSignalBus.BGP_ADJ_DOWN, lambda _, info: down(info["peer"]))
        bus.register_listener(BgpSignalBus.BGP_ADJ_RIB_IN_CHANGED, lambda _, info: heard(info["peer"]))
        # The bus matches whole identifiers, and these two end in the peer, so that no listener would match.
        bus.bgp_error = lambda peer, code, subcode, _: notified(peer, code, subcode, "sent")
        bus.bgp_notification_received = lambda peer, message: notified(
            peer, message.error_code, message.error_subcode, "received", message.data
        )

    # --- paths -----------------------------------------------------------------------------------

    def learn(self, path: Library) -> None:
        """Put a path into the table."""
        self.core.table_manager.learn_path(path)

    def forget_lost(self, peer: Library) -> None:
        """Take the paths of a peer's lost sessions out of the table."""
        self.core.table_manager.clean_stale_routes(peer)

    def set_advertisement(self, prefix: str, advertisement: Advertisement | None) -> None:
        """Originate a prefix, or withdraw it; without a next hop, it is the local address of each session."""
        if advertisement == self.advertisements.get(prefix):
            return
        if advertisement is None:
            self._bgp.prefix_del(prefix)
            del self.advertisements[prefix]
            return
        network = IPv4Network(prefix)
        path = ipv4.Ipv4Path(
            None,
            packet.IPAddrPrefix(network.prefixlen, str(network.network_address)),
            1,
            pattrs=originated(advertisement),
            nexthop=str(advertisement.next_hop or "0.0.0.0"),  # noqa: S104 - the library's "none"
        )
        self.learn(path)
        self.advertisements[prefix] = advertisement

    def stop(self) -> None:
        """Stop the library's speaker."""
        self._bgp.shutdown()


def identity_of(opened: Library) -> Identity:
    """Return the identity that an OPEN of the library states; AS numbers have four octets (RFC 6793)."""
    wide = opened.opt_param_cap_map.get(packet.BGP_CAP_FOUR_OCTET_AS_NUMBER)
    return Identity(
        asn=opened.my_as if wide is None else wide.as_number, router_id=IPv4Address(opened.bgp_identifier)
    )
