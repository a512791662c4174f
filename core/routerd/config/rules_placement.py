"""Rules of sites with several leaves: who may share addresses, which one a leaf is, what it takes over."""

from __future__ import annotations

import re

from routerd.config.checker import Checker, unique
from routerd.model import specs
from routerd.model.resource import Resource
from routerd.model.specs.mobility import MAX_PRIORITY

_NAME = r"[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?"


def groups(c: Checker, r: Resource[specs.SAMEnrollmentPolicySpec]) -> None:
    """Check the sites with several leaves of a policy."""
    unique(c, r, "spec.placementGroups", [group.name for group in r.spec.placement_groups])
    for index, group in enumerate(r.spec.placement_groups):
        path = f"spec.placementGroups[{index}]"
        if not re.fullmatch(_NAME, group.name):
            c.report(r, f"{path}.name", f'"{group.name}" is no name', "letters, digits, dots and dashes")
        try:
            re.compile(group.allowed_leaf_ids.pattern)
        except re.error as error:
            c.report(r, f"{path}.allowedLeafIDs.pattern", f"is no regular expression: {error}")


def placement(c: Checker, r: Resource[specs.SAMEnrollmentClaimSpec]) -> None:
    """Check which one of its site's leaves a claim is."""
    placed = r.spec.placement
    if placed is None:
        return
    if not re.fullmatch(_NAME, placed.group.strip()):
        hint = "a name of placementGroups of the policy"
        c.report(r, "spec.placement.group", f'"{placed.group}" is no name of a placement group', hint)
    c.within(r, "spec.placement.priority", placed.priority, 1, MAX_PRIORITY)
    if not r.spec.mobility.owned_addresses:
        hint = "the leaves of a group know of each other by the addresses that they share"
        c.report(r, "spec.mobility.ownedAddresses", "is required with placement", hint)
