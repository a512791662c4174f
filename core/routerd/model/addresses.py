"""Addresses, prefixes and interface addresses of both families, their order, and the way to IPv4 alone.

Public values hold either family, so that IPv6 changes no signature. routerd does not use IPv6 yet: the
configuration and a claim refuse it, and code that needs IPv4 narrows at its edge by `ipv4`. Only what a
standard defines as IPv4 stays `IPv4Address`: the BGP identifier (RFC 4271 section 4.2, RFC 6286 section
2.1), which ORIGINATOR_ID repeats, and the cluster ID (RFC 4456 section 8), all numbers of four octets.

Added in 1.0.
"""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from typing import overload

import attrs

from routerd.errors import UnsupportedError

IPAddress = IPv4Address | IPv6Address
"""An address of either family."""

IPNetwork = IPv4Network | IPv6Network
"""A prefix of either family."""

IPInterface = IPv4Interface | IPv6Interface
"""An address with the length of its prefix, of either family."""


def order(value: IPAddress | IPNetwork | IPInterface | None) -> tuple[int, ...]:
    """Return the sort key of a value: none first, then IPv4, then IPv6, each as `ipaddress` sorts it.

    Python refuses to compare the families. Compare values of one sort only.

    Added in 1.0.
    """
    if isinstance(value, (IPv4Interface, IPv6Interface)):
        network = value.network
        return value.version, int(network.network_address), network.prefixlen, int(value)
    if isinstance(value, (IPv4Network, IPv6Network)):
        return value.version, int(value.network_address), value.prefixlen
    return () if value is None else (value.version, int(value))


def host_prefix(address: IPAddress) -> IPNetwork:
    """Return the prefix that holds only this address: a /32 or a /128.

    Added in 1.0.
    """
    return IPv4Network(address) if isinstance(address, IPv4Address) else IPv6Network(address)


def inside(prefix: IPNetwork, bound: IPNetwork) -> bool:
    """Say whether a prefix lies inside another one; those of different families never do.

    Added in 1.0.
    """
    if isinstance(prefix, IPv4Network):
        return isinstance(bound, IPv4Network) and prefix.subnet_of(bound)
    return isinstance(bound, IPv6Network) and prefix.subnet_of(bound)


@overload
def ipv4(value: IPInterface, subject: str) -> IPv4Interface: ...


@overload
def ipv4(value: IPAddress, subject: str) -> IPv4Address: ...


@overload
def ipv4(value: IPNetwork, subject: str) -> IPv4Network: ...


def ipv4(
    value: IPAddress | IPNetwork | IPInterface, subject: str
) -> IPv4Address | IPv4Network | IPv4Interface:
    """Return the value where only IPv4 will do; `UnsupportedError` for IPv6, in words about `subject`.

    Added in 1.0.
    """
    if isinstance(value, (IPv4Address, IPv4Network)):
        return value
    raise no_ipv6(subject, value)


def no_ipv6(subject: str, value: IPAddress | IPNetwork | IPInterface) -> UnsupportedError:
    """Return the error of a thing that has an IPv6 address where only IPv4 will do.

    Added in 1.0.
    """
    return UnsupportedError(f"{subject}: {value} is IPv6; routerd does not support IPv6 here yet; use IPv4")


def first_ipv6(value: object) -> IPAddress | IPNetwork | IPInterface | None:
    """Return an IPv6 address or prefix in a value: itself, in a field of an `attrs` value, or in an item.

    Added in 1.0.
    """
    if isinstance(value, (IPv6Address, IPv6Network)):
        return value
    parts: Iterable[object] = ()
    if isinstance(value, (tuple, frozenset)):
        parts = value
    elif attrs.has(kind := type(value)):
        parts = (getattr(value, field.name) for field in attrs.fields(kind))
    return next((found for part in parts if (found := first_ipv6(part)) is not None), None)
