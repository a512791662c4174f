"""Which leaf holds what on a route reflector: every known claim, indexed by all that must be unique.

Judging a claim costs the same however many others there are. The index is memory only; a caller
that changes it writes the same to the store.
"""

from bisect import bisect_left, insort
from collections.abc import Hashable, Iterable, Iterator
from datetime import datetime
from ipaddress import IPv4Address
from typing import TypeVar

import attrs

from routerd.admission.policies import Site, rules_of
from routerd.model.addresses import IPAddress, IPNetwork, order
from routerd.model.claim import AdmittedClaim, Claim, prefix
from routerd.model.intent import Intent
from routerd.model.names import LinkName
from routerd.model.specs.link_slots import Slot

K = TypeVar("K", bound=Hashable)

Item = tuple[str, Hashable]
"""What only one leaf may hold: its sort, and which one of that sort; addresses are numbers."""


@attrs.frozen(kw_only=True)
class Held:
    """What a claim holds: items that are unique, its /31s, and its AllowedIPs by device.

    `addresses` are those of its leaf: the tunnel's first, then those that it owns. The other leaves
    of its `site` may hold the `shared` items too.
    """

    items: tuple[Item, ...]
    addresses: tuple[IPAddress, ...] = ()
    slots: tuple[Slot, ...] = ()
    routed: tuple[tuple[LinkName, IPNetwork], ...] = ()
    site: Site | None = None
    shared: frozenset[Item] = frozenset()


class Holdings:
    """The claims that were admitted on this router, ended ones too.

    The rules of `intent` say which profile and which WireGuard device the policy of a claim means, so
    another configuration needs another index. Each change increases `version`.
    """

    def __init__(self, intent: Intent, admitted: Iterable[AdmittedClaim] = ()) -> None:
        self.rules = rules_of(intent)
        self._claims: dict[str, AdmittedClaim] = {}
        self._held: dict[str, Held] = {}
        self._holders: dict[Item, str] = {}
        self._sharers: dict[Item, list[str]] = {}
        self._members: dict[Site, list[str]] = {}
        self._networks: dict[LinkName, list[tuple[int, int, str]]] = {}
        self.version = 0
        self._last: tuple[Claim | None, Held] = (None, Held(items=()))
        # Oldest first: of two that claim one item, the later one has it now.
        for each in sorted(admitted, key=lambda found: found.admitted_at):
            self.put(each)

    def __iter__(self) -> Iterator[AdmittedClaim]:
        """Return the claims, ended ones too, in no order."""
        return iter(self._claims.values())

    def __len__(self) -> int:
        """Return how many claims there are, ended ones too."""
        return len(self._claims)

    def all(self) -> tuple[AdmittedClaim, ...]:
        """Return the claims, ended ones too, in no order."""
        return tuple(self._claims.values())

    def named(self, name: str) -> AdmittedClaim | None:
        """Return the claim of that name, also when it has ended."""
        return self._claims.get(name)

    def put(self, admitted: AdmittedClaim) -> None:
        """Take in a claim in place of the one of its name."""
        name = admitted.claim.name
        self.drop(name)
        self._claims[name] = admitted
        self.version += 1
        if admitted.claim.revoked or admitted.superseded:
            return
        held = self._held[name] = self.held(admitted.claim)
        for item in held.items:
            if item in held.shared:
                self._sharers.setdefault(item, []).append(name)
            else:
                self._holders[item] = name
        if held.site is not None:
            self._members.setdefault(held.site, []).append(name)
        for device, network in held.routed:
            insort(self._networks.setdefault(device, []), (*_range(network), name))

    def drop(self, name: str) -> None:
        """Forget the claim of that name, if there is one."""
        self._claims.pop(name, None)
        self.version += 1
        held = self._held.pop(name, None)
        if held is None:
            return
        for item in held.items:
            if item in held.shared:
                _leave(self._sharers, item, name)
            elif self._holders.get(item) == name:
                del self._holders[item]
        if held.site is not None:
            _leave(self._members, held.site, name)
        for device, network in held.routed:
            entry = (*_range(network), name)
            others = self._networks.get(device, [])
            at = bisect_left(others, entry)
            if at < len(others) and others[at] == entry:
                del others[at]

    def holder(
        self, item: Item, *, but: str, now: datetime, site: Site | None = None
    ) -> AdmittedClaim | None:
        """Return the claim, other than `but`, that holds an item at `now`.

        One of the same `site` that shares the item does not count.
        """
        for name in self._names(item, site):
            found = self._claims[name]
            if name != but and found.active(now):
                return found
        return None

    def _names(self, item: Item, site: Site | None = None) -> Iterator[str]:
        if (name := self._holders.get(item)) is not None:
            yield name
        for name in self._sharers.get(item, ()):
            if site is None or self._held[name].site != site:
                yield name

    def members(self, site: Site, *, but: str, now: datetime) -> Iterator[AdmittedClaim]:
        """Return the claims, other than `but`, of the leaves of a site at `now`."""
        for name in self._members.get(site, ()):
            found = self._claims[name]
            if name != but and found.active(now):
                yield found

    def overlapping(self, held: Held, *, but: str, now: datetime) -> tuple[IPNetwork, AdmittedClaim] | None:
        """Return an AllowedIPs that lies across another peer's of its device, and that claim."""
        for device, network in held.routed:
            first, last = _range(network)
            for start, end, name in self._across(device, first, last):
                found = self._claims.get(name)
                if name != but and end >= first and start <= last and found and found.active(now):
                    return network, found
        return None

    def _across(self, device: LinkName, first: int, last: int) -> Iterator[tuple[int, int, str]]:
        held = self._networks.get(device, [])
        for entry in held[bisect_left(held, (first, 0, "")) :]:
            if entry[0] > last:
                break
            yield entry
        # Prefixes either nest or are apart: one that starts earlier and overlaps contains this one.
        for length in range(32):
            start = first >> (32 - length) << (32 - length) if length else 0
            if start < first:
                at = bisect_left(held, (start, 0, ""))
                while at < len(held) and held[at][0] == start:
                    yield held[at]
                    at += 1

    def displaced_by(self, claim: Claim, *, now: datetime) -> tuple[AdmittedClaim, ...]:
        """Return the claims that have ended and of which this one takes something."""
        held = self.held(claim)
        names = {
            name
            for item in held.items
            for name in self._names(item, held.site if item in held.shared else None)
        }
        found = (self._claims[name] for name in sorted(names - {claim.name}))
        return tuple(each for each in found if not each.active(now) and not each.claim.revoked)

    def slot_holder(self, network: IPNetwork, *, but: str, now: datetime) -> str | None:
        """Return which leaf, or node of the file, has a /31."""
        if (node := self.rules.slots.get(network)) is not None:
            return node
        found = self.holder(("slot", int(network.network_address)), but=but, now=now)
        return found.claim.leaf_id if found is not None else None

    def held(self, claim: Claim) -> Held:
        """Return everything of a claim that only one leaf may hold."""
        # Judging asks first, then taking in: of the same claim, one after the other.
        if self._last[0] is not claim:
            self._last = (claim, self._held_by(claim))
        return self._last[1]

    def _held_by(self, claim: Claim) -> Held:
        resolved = self.rules.find(claim)
        items: list[Item] = [("leaf", claim.leaf_id)]
        if (router_id := claim.router_host) is not None:
            items.append(("router-id", int(router_id)))
        if claim.wireguard is not None and (key := claim.wireguard.public_key):
            items.append(("key", key))
        owned = (prefix(text).network_address for text in claim.owned_addresses)
        addresses = (claim.tunnel_host, *owned)
        # As numbers, because an address is slow to hash.
        items += [("address", int(address)) for address in addresses]
        if resolved is None:
            return Held(items=tuple(items), addresses=addresses)
        site = resolved.site(claim)
        shared: frozenset[Item] = frozenset()
        if site is not None and claim.placement is not None:
            items.append(("placement", (site, claim.placement.priority)))
            shared = frozenset(("address", int(each)) for each in addresses[1:] if each != addresses[0])
        # Two tunnels of one kind to one address are one tunnel to the kernel.
        items.append(("endpoint", (resolved.profile, int(claim.endpoint_host))))
        slots = resolved.slots(claim.leaf_id)
        items += [("slot", int(slot.network.network_address)) for slot in slots]
        device = resolved.device
        networks = (
            [(device, network) for network in sorted(claim.routed, key=order)] if device is not None else []
        )
        return Held(
            items=tuple(items),
            addresses=addresses,
            slots=slots,
            routed=tuple(networks),
            site=site,
            shared=shared,
        )


def described(item: Item) -> str:
    """Return the words for an item."""
    sort, which = item
    if sort == "endpoint" and isinstance(which, tuple):
        return f"endpoint {IPv4Address(which[1])}"
    if sort == "placement" and isinstance(which, tuple):
        return f"priority {which[1]} of placement group {which[0].group}"
    if sort in ("address", "router-id") and isinstance(which, int):
        return f"{sort} {IPv4Address(which)}"
    if sort == "slot" and isinstance(which, int):
        return f"link {IPv4Address(which)}/31"
    return f"{sort} {which}"


def _leave(names: dict[K, list[str]], key: K, name: str) -> None:
    left = names[key]
    left.remove(name)
    if not left:
        del names[key]


def _range(network: IPNetwork) -> tuple[int, int]:
    return int(network.network_address), int(network.broadcast_address)
