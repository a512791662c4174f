"""The tools of the rules: look-ups of resources, and checks of one field."""

import difflib
import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from ipaddress import IPv4Address, IPv4Network
from typing import Any, TypeVar

import attrs

from routerd.config.document import ipv6_hint
from routerd.errors import Problem
from routerd.model import specs
from routerd.model.bgp.community import canonical
from routerd.model.names import MAX_LINK_NAME, Ref
from routerd.model.resource import Resource
from routerd.model.specs.common import PeerSource, PolicySpec, SecretSource
from routerd.model.specs.keys import camel_case

S = TypeVar("S")

NAME = r"[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?"
"""The pattern of names that travel in a claim: of leaves, of claims, of placement groups."""

AnyResource = Resource[Any]  # Any: rules are looked up by the type of the spec


@attrs.frozen
class Checker:
    """The resources of one file, and the problems found so far.

    `broken` names the resources that have a reported problem and are missing from `resources`;
    a reference to one of them is not a second problem.
    """

    file: str
    resources: Sequence[AnyResource]
    broken: frozenset[str] = frozenset()
    problems: list[Problem] = attrs.field(factory=list)

    def report(
        self, resource: AnyResource, path: str, message: str, hint: str = "", *, severity: str = "error"
    ) -> None:
        """Note a problem of the field `path`."""
        self.problems.append(resource.problem(path, message, hint, severity=severity))

    def warn(self, resource: AnyResource, path: str, message: str, hint: str = "") -> None:
        """Note a setting that works, and that the operator probably does not mean."""
        self.report(resource, path, message, hint, severity="warning")

    def of(self, spec: type[S]) -> Iterator[Resource[S]]:
        """Yield the resources of one kind."""
        return (resource for resource in self.resources if isinstance(resource.spec, spec))

    def refer(self, resource: AnyResource, path: str, ref: str | None, *kinds: str) -> AnyResource | None:
        """Check that `Kind/name` (or a bare name) names a resource of one of `kinds`."""
        if ref is None:
            return None
        wanted = Ref.parse(ref)
        kind, name = wanted.kind, wanted.name
        if kind and kind not in kinds:
            self.report(resource, path, f'"{ref}" must refer to {" or ".join(kinds)}')
            return None
        for other in self.resources:
            if other.name == name and other.id.kind in ((kind,) if kind else kinds):
                return other
        if name in self.broken:
            return None
        names = [other.id.ref for other in self.resources if other.id.kind in kinds]
        close = difflib.get_close_matches(ref if kind else f"{kinds[0]}/{name}", names, n=1)
        hint = f"did you mean {close[0]}?" if close else ""
        self.report(resource, path, f'"{ref}" does not exist', hint)
        return None

    def exactly_one(self, resource: AnyResource, *paths: str) -> None:
        """Check that exactly one of two fields below `spec` is given."""
        given = [path for path in paths if getattr(resource.spec, path) not in (None, ())]
        if len(given) != 1:
            what = "are both given" if given else "are both missing"
            names = " and ".join(f"spec.{camel_case(path)}" for path in paths)
            self.report(resource, f"spec.{camel_case(paths[0])}", f"{names} {what}; give exactly one")

    def within(self, resource: AnyResource, path: str, value: int | None, low: int, high: int) -> None:
        """Check that a number, when given, is in its range."""
        if value is not None and not low <= value <= high:
            self.report(resource, path, f"{value} is not between {low} and {high}")


def link_name(c: Checker, r: AnyResource, path: str, name: str) -> None:
    """Check the name of a network device."""
    size = len(name.encode())
    if not 1 <= size <= MAX_LINK_NAME:
        c.report(r, path, f'"{name}" has {size} bytes; a device name has 1 to {MAX_LINK_NAME}')
    elif re.search(r"[\s/:]", name) or name in (".", ".."):
        c.report(r, path, f'"{name}" is not a device name; use no space, slash or colon')


def mtu(c: Checker, r: AnyResource, size: int | None) -> None:
    """Check `spec.mtu`."""
    c.within(r, "spec.mtu", size, 576, 9216)


def port(c: Checker, r: AnyResource, path: str, number: int | None) -> None:
    """Check a TCP or UDP port."""
    if number is not None and not 1 <= number <= 65535:
        c.report(r, path, f"{number} is not a port (1 to 65535)")


def keepalive(c: Checker, r: AnyResource, path: str, seconds: int) -> None:
    """Check a WireGuard keepalive."""
    c.within(r, path, seconds, 0, 65535)


def endpoint(c: Checker, r: AnyResource, path: str, text: str) -> None:
    """Check an IPv4 address with a port."""
    before, _, after = text.strip().rpartition(":")
    try:
        IPv4Address(before)
        valid = after.isdecimal() and 1 <= int(after) <= 65535
    except ValueError:
        valid = False
    if not valid:
        message = f'expected an IPv4 address and a port such as 192.0.2.1:51820, got "{text}"'
        c.report(r, path, message, ipv6_hint(text))


def asn(c: Checker, r: AnyResource, path: str, number: int) -> None:
    """Check a number of an autonomous system."""
    if not 1 <= number <= 4294967295:
        c.report(r, path, f"{number} is not an AS number (1 to 4294967295)")


def policy(c: Checker, r: AnyResource, path: str, value: PolicySpec | None) -> None:
    """Check an import or export policy by itself."""
    if value is None:
        return
    low, high = value.allowed_prefix_length_min, value.allowed_prefix_length_max
    c.within(r, f"{path}.allowedPrefixLengthMin", low, 0, 32)
    c.within(r, f"{path}.allowedPrefixLengthMax", high, 0, 32)
    if low is not None and high is not None and low > high:
        c.report(r, f"{path}.allowedPrefixLengthMin", f"{low} is larger than the maximum {high}")
    if value.next_hop_rewrite == "unchanged":
        c.warn(
            r,
            f"{path}.nextHopRewrite",
            "has no effect: the next hop of a learned route is the neighbour that sent it",
        )
    required = communities(c, r, f"{path}.requiredCommunities", value.required_communities)
    forbidden = communities(c, r, f"{path}.forbiddenCommunities", value.forbidden_communities)
    for index, community in enumerate(forbidden):
        if community is not None and community in required:
            c.report(
                r,
                f"{path}.forbiddenCommunities[{index}]",
                f"{value.forbidden_communities[index]} is required too, so nothing would enter",
            )


def unused_policy(c: Checker, r: AnyResource, path: str, value: PolicySpec | None) -> None:
    """Check a policy that routerd does not apply; refuse the fields meant to keep routes away."""
    policy(c, r, path, value)
    for key, values in (
        ("requiredCommunities", value.required_communities if value else ()),
        ("forbiddenCommunities", value.forbidden_communities if value else ()),
    ):
        if values:
            c.report(
                r,
                f"{path}.{key}",
                "routerd does not check it, so it would keep no route out",
                "name communities in an importPolicy instead",
            )


def learns(c: Checker, r: AnyResource, path: str, own: PolicySpec | None, router: AnyResource | None) -> None:
    """Warn of a session that learns no route, because its import policy allows no prefix."""
    if router is None:
        return
    effective = own or router.spec.import_policy
    pools = any(True for _ in c.of(specs.MobilityPoolSpec))
    if effective is None or not (effective.allowed_prefixes or pools):
        c.warn(
            r,
            f"{path}.allowedPrefixes",
            "names no prefixes, here or in the BGPRouter, so no route is learned",
        )


def communities(c: Checker, r: AnyResource, path: str, values: Sequence[str]) -> list[str | None]:
    """Check standard communities (RFC 1997); return each in one notation, `None` for an invalid one."""
    numbers: list[str | None] = []
    for index, text in enumerate(values):
        try:
            numbers.append(canonical(text))
        except ValueError as error:
            numbers.append(None)
            c.report(r, f"{path}[{index}]", str(error))
    return numbers


def secret(c: Checker, r: AnyResource, path: str, source: SecretSource | None) -> None:
    """Check where a secret is read from."""
    if source is not None and (source.file is None) == (source.env is None):
        what = "are both missing" if source.file is None else "are both given"
        c.report(r, path, f"file and env {what}; give exactly one")


def peers_source(c: Checker, r: AnyResource, where: str, source: PeerSource) -> None:
    """Check a source of peers; a set of route reflectors may be one that a leaf fetches."""
    ref, path = source.resource, f"{where}.resource"
    wanted = Ref.parse(ref)
    kind, name = wanted.kind, wanted.name
    if source.direct:
        c.report(r, f"{where}.direct", "routerd makes no direct tunnels between leaves", "remove the source")
        if kind == "SAMPeerGroup":
            return
    if not kind:
        c.report(r, path, f'expected Kind/name such as SAMRRSet/rrs, got "{ref}"')
        return
    if kind == "SAMRRSet":
        fetched = {Ref.parse(claim.spec.rr_set_ref).name for claim in c.of(specs.SAMEnrollmentClaimSpec)}
        static = {found.name for found in c.of(specs.SAMRRSetSpec)}
        claims_unread = any(
            Ref.parse(client.spec.claim_ref).name in c.broken
            for client in c.of(specs.SAMEnrollmentClientSpec)
        )
        if name not in fetched | static | c.broken and not claims_unread:
            message = f'"{ref}" is neither defined here nor fetched by any SAMEnrollmentClaim'
            c.report(r, path, message, "set the claim's rrSetRef")
        return
    if kind == "SAMPeerGroup":
        # routerd fetches no group, so it would wait without end for a required one.
        message = f'"{ref}" makes no peers: routerd does not exchange peer groups'
        hint = "name a SAMRRSet, a SAMNodeSet or a SAMEnrollmentPolicy"
        if source.optional:
            c.warn(r, path, message, hint)
        else:
            c.report(r, path, message, f"{hint}, or set optional: true")
        return
    c.refer(r, path, ref, "SAMNodeSet", "SAMEnrollmentPolicy", "SAMRRSet")


def tunnel_fields(c: Checker, r: AnyResource) -> None:
    """Check UDP ports and the key by themselves; whether a mode takes them is its transport's affair."""
    for path, number in (("encapSport", r.spec.encap_sport), ("encapDport", r.spec.encap_dport)):
        port(c, r, f"spec.{path}", number)
    c.within(r, "spec.key", r.spec.key, 0, 4294967295)


def host(c: Checker, r: AnyResource, path: str, text: str) -> None:
    """Check an IPv4 address, bare or with /32."""
    try:
        IPv4Address(text.strip().removesuffix("/32"))
    except ValueError:
        c.report(r, path, f'expected an IPv4 address, got "{text}"', ipv6_hint(text))


def host_prefix(c: Checker, r: AnyResource, path: str, text: str) -> None:
    """Check a prefix of one address."""
    try:
        valid = IPv4Network(text.strip()).prefixlen == 32
    except ValueError:
        valid = False
    if not valid:
        c.report(r, path, f'expected a host prefix such as 10.0.0.1/32, got "{text}"', ipv6_hint(text))


def time(c: Checker, r: AnyResource, path: str, text: str) -> None:
    """Check a moment (RFC 3339), when given."""
    try:
        valid = not text or datetime.fromisoformat(text.strip()).tzinfo is not None
    except ValueError:
        valid = False
    if not valid:
        c.report(r, path, f'expected a time such as 2026-06-28T00:00:00Z, got "{text}"')


def unique(c: Checker, r: AnyResource, path: str, names: Sequence[str]) -> None:
    """Check that no name occurs twice."""
    for name in sorted({name for name in names if names.count(name) > 1}):
        c.report(r, path, f"{name} is named twice")
