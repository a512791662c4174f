"""The marks by which a restarted routerd recognises its own things on this host.

Links carry an alias (`routerd.spi.ALIAS_PREFIX`), routes a protocol number, packet filter rules a
comment or their own table, sysctls a recorded original value. A thing without such a mark is foreign:
routerd neither replaces nor removes it.

To see `proto routerd` instead of `proto 147` in `ip route`, write `147 routerd` to
`/etc/iproute2/rt_protos.d/routerd.conf`; routerd itself does not need it.
"""

from routerd.model.route import ROUTE_PROTOCOL

FIREWALL_TABLE = "routerd"
"""Name of our own nftables table, family `ip`."""

SUBSYSTEM_TABLE_PREFIX = "routerd_"
"""Prefix of the nftables tables of subsystems, in which the core makes no openings."""

FIREWALL_COMMENT = "routerd"
"""Comment of each rule of ours; in nftables the key's text follows it."""


def is_our_route(protocol: int) -> bool:
    """Say whether a route with this `rtm_protocol` is ours."""
    return protocol == ROUTE_PROTOCOL


def is_our_comment(comment: str) -> bool:
    """Say whether a packet filter rule with this comment is ours."""
    return comment == FIREWALL_COMMENT or comment.startswith(FIREWALL_COMMENT + " ")
