"""Collects the facts of an explanation from a running router, and from the kernel."""

from collections.abc import Sequence

from routerd.control.ports import ClaimDesk
from routerd.errors import ProviderError
from routerd.kernel.routes.lookup import RouteAnswer, lookup
from routerd.model.addresses import IPNetwork, inside
from routerd.model.moment import second_text
from routerd.model.report.claims import ClaimReport
from routerd.model.report.explanation import Step
from routerd.model.subsystem import Flow
from routerd.reconcile.derive import fabric_facts
from routerd.report.explain.facts import Facts, OwnerFacts
from routerd.report.live import Live
from routerd.report.subject import Subject

_AUDITED = 50
"""Number of a claim's latest decisions that are searched for its revocation."""


async def gather(
    subject: Subject,
    target: IPNetwork,
    live: Live,
    *,
    claims: ClaimDesk | None,
    memberships: Sequence[str],
    flow: Flow | None = None,
) -> Facts:
    """Return the facts about an address, and about a flow to it, if one is given.

    `claims` is none on a router that does not admit leaves.
    """
    owners, set_aside = await owners_of(target, claims) if claims is not None else ((), ())
    answer: RouteAnswer | None = None
    error = ""
    try:
        answer = await lookup(target.network_address)
    except ProviderError as caught:
        error = str(caught)
    inputs = subject.inputs()
    steps: list[Step] = []
    if flow is not None:
        known = fabric_facts(inputs)
        for each in subject.made.subsystems.values():
            steps += each.explain(flow, known)
    return Facts(
        target=target,
        inputs=inputs,
        desired=subject.derive(),
        live=live,
        reports=subject.loop.reports(),
        gates=subject.gates(),
        waiting=dict(subject.knowledge.waiting),
        owners=owners,
        set_aside=set_aside,
        memberships=tuple(memberships),
        answer=answer,
        answer_error=error,
        flow=flow,
        flow_steps=tuple(steps),
    )


async def owners_of(target: IPNetwork, claims: ClaimDesk) -> tuple[tuple[OwnerFacts, ...], tuple[str, ...]]:
    """Return the claims that have an address, and the names of quarantined claims."""
    reports = await claims.claims()
    owners = [
        await _owner(each, claims)
        for each in reports
        if each.claim is not None and any(inside(target, owned) for owned in each.claim.owned)
    ]
    aside = [each.name for each in reports if each.status.phase == "Quarantined"]
    return tuple(owners), tuple(aside)


async def _owner(report: ClaimReport, claims: ClaimDesk) -> OwnerFacts:
    status = report.status
    decided_at = status.decided_at
    if status.phase == "Revoked":
        entries = await claims.audit(limit=_AUDITED, claim=report.name)
        decided_at = next((each.at for each in reversed(entries) if each.decision == "revoked"), None)
    return OwnerFacts(
        name=report.name,
        leaf=status.leaf_id,
        phase=status.phase,
        policy=status.policy,
        message=status.message,
        until=second_text(status.expires_at) if status.expires_at else "",
        decided_at=second_text(decided_at) if decided_at else "",
    )
