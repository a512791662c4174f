"""The author's samples for a table: desired values, replacements, a refused value, a foreign thing."""

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
    """A foreign thing in the way.

    `place` makes it as another program would; `read` returns its present state, in any comparable form.
    It occupies `key`, for which the test desires `value`. The suite calls both while the table's owner
    (the provider, or the table itself) runs.
    """

    key: K
    value: V
    place: Callable[[], Awaitable[None]]
    read: Callable[[], Awaitable[object]]


@attrs.frozen(kw_only=True)
class Samples(Generic[K, V]):
    """The values that a suite puts through one table.

    `values` are desired and fit together (two at least, if a table holds two); `replacement` has other
    values for some of their keys; `refused` is one creation that must fail; the suite awaits `prepare`
    with the owner before the first change, for tables that need another one (peers need their device).
    """

    values: Mapping[K, V] = attrs.field(validator=attrs.validators.min_len(1))
    replacement: Mapping[K, V] = attrs.field(factory=dict)
    refused: Mapping[K, V] = attrs.field(factory=dict)
    foreign: Foreign[K, V] | None = None
    prepare: Callable[[Any], Awaitable[None]] = _nothing  # Any: the family's own provider type


@attrs.frozen(kw_only=True)
class Neighbour:
    """The neighbour of one session, whose speaker the suite of a routing protocol scripts.

    `session` expects an AS number and a router ID. After `speak(asn, router_id)` only a speaker with
    that identity tries at `address` to bring the session up and to announce `prefix`, until the next
    `speak`. The author's fixture ends the last speaker.

    Added in 1.0.
    """

    address: IPv4Address
    session: Session
    prefix: IPv4Network
    speak: Callable[[int, IPv4Address], Awaitable[None]]


@attrs.frozen(kw_only=True)
class BgpPlace:
    """The TCP addresses of a BGP speaker under test and of the suite's scripted peers.

    `speaker` names its listening address and port. `peers` are four or more addresses of this host that
    can reach it. `passwords` says that this kernel has TCP MD5 (RFC 2385), so that the speaker must
    have it too; `routerd.testing.bgp.md5_available` finds out.

    Added in 1.0.
    """

    speaker: Speaker
    peers: tuple[IPv4Address, ...]
    passwords: bool


@attrs.frozen(kw_only=True)
class TableRules:
    """The rules for a table; the family decides, not the author.

    `attribute` is the name of the table in the provider, `least` the minimum number of sample values. A
    table that does not delete reports its keys always. `refuses`: one creation can fail by itself.
    `foreign`: a foreign thing can be in the way.
    """

    attribute: str
    least: int = 2
    deletes: bool = True
    replaces: bool = True
    refuses: bool = True
    foreign: bool = True

    def __str__(self) -> str:
        return self.attribute
