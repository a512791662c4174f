"""What an author supplies for a table: values to make, to change, to be refused, to be left alone."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from ipaddress import IPv4Address, IPv4Network
from typing import Any, Generic, TypeVar

import attrs

from routerd.model.session import Session, Speaker

K = TypeVar("K")
V = TypeVar("V")


async def _nothing(_owner: object) -> None:
    return


@attrs.frozen(kw_only=True)
class Foreign(Generic[K, V]):
    """Something in the way that is not ours.

    `place` puts it there as somebody else would, `read` returns it as the world has it now, in
    any form that can be compared. `key` is the key on which it stands, `value` what we would want
    there. Both are called while the table's owner (the provider, or the table itself) runs.
    """

    key: K
    value: V
    place: Callable[[], Awaitable[None]]
    read: Callable[[], Awaitable[object]]


@attrs.frozen(kw_only=True)
class Samples(Generic[K, V]):
    """The values that a suite puts through one table.

    `values` are desired and can hold together (two at least, where a table holds two);
    `replacement` has other values for some of their keys; `refused` is one creation that must
    fail; `prepare` is awaited with the owner before the first change, for tables that need
    another one filled (peers need their device).
    """

    values: Mapping[K, V]
    replacement: Mapping[K, V] = attrs.field(factory=dict)
    refused: Mapping[K, V] = attrs.field(factory=dict)
    foreign: Foreign[K, V] | None = None
    prepare: Callable[[Any], Awaitable[None]] = _nothing  # Any: the family's own provider type


@attrs.frozen(kw_only=True)
class Neighbour:
    """The neighbour of one session, whose speaker the suite of a routing protocol scripts.

    `session` expects an AS number and a router ID. After `speak(asn, router_id)` a speaker with
    that identity, and no other one, tries at `address` to bring the session up and to announce
    `prefix`, until `speak` is called again. What it leaves running, the author's fixture ends.

    Added in 1.0.
    """

    address: IPv4Address
    session: Session
    prefix: IPv4Network
    speak: Callable[[int, IPv4Address], Awaitable[None]]


@attrs.frozen(kw_only=True)
class BgpPlace:
    """Where a BGP speaker under test and the peers that the suite scripts meet, over TCP.

    `speaker` names the address and the port that it is to listen on. `peers` are addresses of this
    host, four at least, that can be dialed from and that reach it. `passwords`: this kernel has TCP
    MD5 (RFC 2385), so the speaker must have it too; `routerd.testing.bgp.md5_available` asks.

    Added in 1.0.
    """

    speaker: Speaker
    peers: tuple[IPv4Address, ...]
    passwords: bool


@attrs.frozen(kw_only=True)
class TableRules:
    """Which rules hold for a table; the family decides, not the author.

    `attribute` is where the provider has the table. `least` is how many values its samples must
    have. A table that does not delete reports its keys whether we want them or not. `refuses`:
    some creation must fail by itself. `foreign`: others can stand in the way.
    """

    attribute: str
    least: int = 2
    deletes: bool = True
    replaces: bool = True
    refuses: bool = True
    foreign: bool = True

    def __str__(self) -> str:
        return self.attribute
