"""Rules of sites with several leaves: placement groups, the place of a claim, and takeover."""

from __future__ import annotations

import re
from datetime import timedelta

from routerd.config.checker import Checker, unique
from routerd.model import specs
from routerd.model.resource import Resource
from routerd.model.specs.mobility import MAX_PRIORITY

_SHORTEST = timedelta(seconds=1)
_NAME = r"[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?"


def groups(c: Checker, r: Resource[specs.SAMEnrollmentPolicySpec]) -> None:
    """Check the sites with several leaves of a policy."""
    unique(c, r, "spec.placementGroups", [group.name for group in r.spec.placement_groups])
    for index, group in enumerate(r.spec.placement_groups):
        path = f"spec.placementGroups[{index}]"
        if not re.fullmatch(_NAME, group.name):
            hint = "use letters, digits, dots and dashes"
            c.report(r, f"{path}.name", f'"{group.name}" is not a name', hint)
        try:
            re.compile(group.allowed_leaf_ids.pattern)
        except re.error as error:
            c.report(r, f"{path}.allowedLeafIDs.pattern", f"is not a regular expression: {error}")


def takeover(c: Checker, r: Resource[specs.CloudProviderProfileSpec]) -> None:
    """Check the routes that a router takes over from the other routers of its site."""
    s = r.spec
    placed = _placed(c)
    unique(c, r, "spec.takeoverFrom", s.takeover_from)
    for index, next_hop in enumerate(s.takeover_from):
        if not next_hop.strip() or next_hop != next_hop.strip():
            c.report(r, f"spec.takeoverFrom[{index}]", f'"{next_hop}" names no router')
    if s.takeover_from and not placed:
        message = "needs a claim with placement, which decides which router is active"
        c.report(r, "spec.takeoverFrom", message, "add placement to the SAMEnrollmentClaim")
    elif placed and not s.takeover_from:
        message = (
            f"is empty, so this router takes over no route of the other leaves in {placed[0].id.ref}'s group"
        )
        c.warn(r, "spec.takeoverFrom", message, "name the site's other routers as the cloud's routes do")
    if s.takeover_hold_down < _SHORTEST:
        message = f"must be {_SHORTEST.total_seconds():g}s or more"
        c.report(r, "spec.takeoverHoldDown", message, "a reflector that restarts needs a moment")


def _placed(c: Checker) -> list[Resource[specs.SAMEnrollmentClaimSpec]]:
    """Return the claims with placement that this router submits."""
    submitted = {found.spec.claim_ref.rpartition("/")[2] for found in c.of(specs.SAMEnrollmentClientSpec)}
    return [
        found
        for found in c.of(specs.SAMEnrollmentClaimSpec)
        if found.name in submitted and found.spec.placement is not None
    ]


def placement(c: Checker, r: Resource[specs.SAMEnrollmentClaimSpec]) -> None:
    """Check the place of a claim among the leaves of its site."""
    placed = r.spec.placement
    if placed is None:
        return
    if not re.fullmatch(_NAME, placed.group.strip()):
        hint = "write a name from the policy's placementGroups"
        c.report(r, "spec.placement.group", f'"{placed.group}" is not the name of a placement group', hint)
    c.within(r, "spec.placement.priority", placed.priority, 1, MAX_PRIORITY)
    if not r.spec.mobility.owned_addresses:
        hint = "list the addresses that the leaves of the group share"
        c.report(r, "spec.mobility.ownedAddresses", "is required with placement", hint)
    first = next(iter(_placed(c)), None)
    if first is not None and first.name != r.name and r.name in {each.name for each in _placed(c)}:
        message = f"{first.id.ref} has one already, and a router has one place in its site"
        c.report(r, "spec.placement", message)
