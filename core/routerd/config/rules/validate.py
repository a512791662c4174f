"""Checks beyond the types: references, rules between fields, rules between resources. Pure.

The rules of each kind are in the modules beside; this one has the rules for the file as a whole.
"""

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any

from routerd.config.rules import host, leaf, mobility, net
from routerd.config.rules.checker import AnyResource, Checker
from routerd.errors import Problem
from routerd.model import specs
from routerd.model.addresses import IPNetwork


def validate(
    resources: Sequence[AnyResource], file: str, broken: frozenset[str] = frozenset()
) -> list[Problem]:
    """Return every problem between and inside resources.

    `broken` names the resources that have a reported problem and are missing from `resources`.
    """
    checker = Checker(file, resources, broken)
    for resource in resources:
        rule = _RULES.get(type(resource.spec))
        if rule is not None:
            rule(checker, resource)
    _at_most_one(checker, specs.BGPRouterSpec, "only one BGP speaker can run")
    _at_most_one(checker, specs.ControlAPISpec, "only one enrollment listener can run")
    _disjoint_pools(checker)
    _mobility_apart_from_tunnels(checker)
    _one_profile_for_each_prefix(checker)
    return checker.problems


def _at_most_one(c: Checker, spec: type[Any], why: str) -> None:
    found = list(c.of(spec))
    for extra in found[1:]:
        c.report(extra, "kind", f"{found[0].id.ref} on line {found[0].source.line} is there already; {why}")


def _disjoint_pools(c: Checker) -> None:
    for other, pool in combinations(c.of(specs.MobilityPoolSpec), 2):
        if pool.spec.prefix.overlaps(other.spec.prefix):
            c.report(
                pool, "spec.prefix", f"{pool.spec.prefix} overlaps {other.spec.prefix} of {other.id.ref}"
            )


def _mobility_apart_from_tunnels(c: Checker) -> None:
    """Check that an address that moves between sites cannot be the address of a tunnel."""
    mobile: list[tuple[AnyResource, str, IPNetwork]] = [
        (pool, "spec.prefix", pool.spec.prefix) for pool in c.of(specs.MobilityPoolSpec)
    ]
    mobile += [
        (policy, f"spec.mobilityPrefixes[{index}]", prefix)
        for policy in c.of(specs.SAMEnrollmentPolicySpec)
        for index, prefix in enumerate(policy.spec.mobility_prefixes)
    ]
    tunnels = [
        (f"innerPrefix of {found.id.ref}", found.spec.inner_prefix)
        for found in c.of(specs.SAMTransportProfileSpec)
    ]
    tunnels += [
        (f"tunnelAddressPrefixes of {found.id.ref}", prefix)
        for found in c.of(specs.SAMEnrollmentPolicySpec)
        for prefix in found.spec.tunnel_address_prefixes
    ]
    for resource, path, prefix in mobile:
        for noun, other in tunnels:
            if prefix.overlaps(other):
                c.report(resource, path, f"{prefix} overlaps {other}, the {noun}")


def _one_profile_for_each_prefix(c: Checker) -> None:
    for other, profile in combinations(c.of(specs.SAMTransportProfileSpec), 2):
        if profile.spec.inner_prefix.overlaps(other.spec.inner_prefix):
            c.warn(
                profile,
                "spec.innerPrefix",
                f"{profile.spec.inner_prefix} overlaps that of {other.id.ref}",
                "two leaves could get the same /31; use another prefix",
            )


_RULES: dict[type[object], Callable[[Checker, AnyResource], None]] = {
    specs.InterfaceSpec: net.interface,
    specs.IPv4StaticAddressSpec: net.address,
    specs.IPv4StaticRouteSpec: net.static_route,
    specs.IPv4RouteSpec: net.route,
    specs.WireGuardInterfaceSpec: net.wireguard_interface,
    specs.WireGuardPeerSpec: net.wireguard_peer,
    specs.BGPRouterSpec: net.bgp_router,
    specs.BGPPeerSpec: net.bgp_peer,
    specs.BGPDynamicPeerSpec: net.bgp_dynamic_peer,
    specs.ControlAPISpec: host.control_api,
    specs.TunnelInterfaceSpec: host.tunnel,
    specs.CloudProviderProfileSpec: host.cloud_profile,
    specs.SysctlSpec: host.sysctl,
    specs.SAMTransportProfileSpec: mobility.profile,
    specs.SAMNodeSetSpec: mobility.node_set,
    specs.SAMRRSetSpec: mobility.rr_set,
    specs.SAMEnrollmentPolicySpec: mobility.enrollment_policy,
    specs.SAMEnrollmentClaimSpec: leaf.claim,
    specs.SAMEnrollmentClientSpec: leaf.client,
}
