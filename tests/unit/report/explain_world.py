"""The examples' reflector and leaf with everything in place, for explanations. Not a test itself."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import attrs
from tests.support.modes import MODES

from routerd import config
from routerd.kernel.routes.lookup import RouteAnswer
from routerd.model.claim import AdmittedClaim, Claim, Topology, prefix
from routerd.model.fabric import InstanceFacts, Nic, NicRef, RouteTableRef
from routerd.model.intent import Intent
from routerd.model.names import LinkName, PublicKey
from routerd.model.route import LearnedRoute, NextHop, RejectedRoute, RouteKey, RouteSet
from routerd.model.session import SessionState
from routerd.model.specs import SAMEnrollmentClaimSpec
from routerd.model.specs.claim_codec import claim_from_spec
from routerd.model.specs.rr_set import reflectors, topology_document
from routerd.model.tunnel import PeerState, TunnelState
from routerd.reconcile.derive import Inputs, derive
from routerd.reconcile.loop import TableReport
from routerd.report.explain import Facts, OwnerFacts
from routerd.report.live import Live

EXAMPLES = Path(__file__).parents[3] / "examples"
NOW = datetime(2026, 6, 29, 12, tzinfo=UTC)
ENDS = "2026-06-29T13:00:00Z"
REMOTE = "10.83.10.20"
RR, LEAF = IPv4Address("10.255.10.157"), IPv4Address("10.255.15.196")
"""The far ends of the tunnels: of the reflector on aws-leaf, of oci-leaf on the reflector."""

TABLE, NIC = RouteTableRef("rtb-1"), NicRef("eni-1")
DEFAULT = RouteAnswer(
    kind="unicast",
    prefix=IPv4Network("0.0.0.0/0"),
    next_hops=(NextHop(gateway=IPv4Address("10.81.10.1"), link=LinkName("ens5")),),
    protocol=3,
    table=254,
)
SITE = RouteAnswer(
    kind="unicast",
    prefix=IPv4Network("10.81.10.0/24"),
    next_hops=(NextHop(link=LinkName("ens5")),),
    protocol=2,
    table=254,
)
OWNER = OwnerFacts(
    name="oci-leaf", leaf="oci-leaf", phase="Approved", policy="SAMEnrollmentPolicy/p", until=ENDS
)


def key(site: str) -> PublicKey:
    return PublicKey(base64.b64encode(site.encode().ljust(32, b".")).decode())


def intent(name: str, of: str, edit: tuple[str, str] = ("", "")) -> Intent:
    text = (EXAMPLES / name).read_text().replace("REPLACE-WITH-THE-PUBLIC-KEY-OF-wg-sam", key(of))
    assert edit[0] in text
    text = text.replace(*edit) if edit[0] else text
    return config.load_text(text, file=name).intent


def claim(site: str) -> Claim:
    found = intent(f"fullmesh-leaf-{site}.yaml", site).first(SAMEnrollmentClaimSpec)
    assert found is not None
    return claim_from_spec(found.name, found.spec)


def path(neighbour: IPv4Address, of: str = f"{REMOTE}/32", **more: object) -> LearnedRoute:
    return LearnedRoute(prefix=IPv4Network(of), **{"next_hop": neighbour, "neighbour": neighbour, **more})


def refused(neighbour: IPv4Address, reason: str) -> RejectedRoute:
    return RejectedRoute(prefix=IPv4Network(f"{REMOTE}/32"), neighbour=neighbour, reason=reason)


def on_leaf(
    target: str = REMOTE,
    *,
    paths: Iterable[LearnedRoute] = (),
    rejected: Iterable[RejectedRoute] = (),
    edit: tuple[str, str] = ("", ""),
    **more: object,
) -> Facts:
    """Return what aws-leaf knows when nothing is wrong; `edit` replaces a part of its file."""
    at_reflector = intent("fullmesh-rr.yaml", "rr")
    policy = Inputs(modes=MODES, intent=at_reflector, now=NOW).policy_of(claim("aws"))
    assert policy is not None
    document = topology_document(at_reflector, policy.spec)
    assert document is not None
    return _facts(
        target,
        Inputs(
            modes=MODES,
            intent=intent("fullmesh-leaf-aws.yaml", "aws", edit),
            now=NOW,
            own_claims={"aws-leaf": claim("aws")},
            topologies={"fullmesh-rrs": Topology(rr_set="fullmesh-rrs", reflectors=reflectors(document))},
            public_keys={"wg-sam": key("aws")},
            learned=RouteSet(routes=tuple(paths), rejected=tuple(rejected), complete=True),
            instances={
                "aws": InstanceFacts(
                    provider="aws",
                    instance="i-1",
                    nics=(Nic(ref=NIC, address=IPv4Address("10.81.10.10")),),
                    next_hop=NIC,
                    route_tables=(TABLE,),
                )
            },
        ),
        more,
    )


def on_reflector(
    target: str = REMOTE,
    *,
    paths: Iterable[LearnedRoute] = (),
    rejected: Iterable[RejectedRoute] = (),
    admitted: bool = True,
    **more: object,
) -> Facts:
    """Return what the reflector knows when nothing is wrong; its own cloud has nothing to tell."""
    held = [
        AdmittedClaim(claim=claim(site), admitted_at=NOW, expires_at=NOW + timedelta(hours=1))
        for site in ("aws", "oci")
        if admitted or site == "aws"
    ]
    inputs = Inputs(
        modes=MODES,
        intent=intent("fullmesh-rr.yaml", "rr"),
        now=NOW,
        claims=tuple(held),
        public_keys={"wg-sam": key("rr")},
        learned=RouteSet(routes=tuple(paths), rejected=tuple(rejected), complete=True),
        instances={"azure": InstanceFacts(provider="azure", instance="vm", nics=(), next_hop="")},
    )
    return _facts(target, inputs, more)


def _facts(target: str, inputs: Inputs, more: dict[str, object]) -> Facts:
    desired = derive(inputs)
    reports = {
        name: TableReport(name=name, desired=len(t.values), observed=len(t.values), in_sync=len(t.values))
        for name, t in desired.tables.items()
    }
    live = Live(
        sessions=tuple(
            SessionState(neighbour=neighbour, state="established")
            for neighbour in desired.table("bgp/sessions").values
        ),
        tunnels=tuple(
            TunnelState(link=link, backend="kernel", up=True) for link in desired.table("tunnels/ipip").values
        ),
        peers=tuple(
            PeerState(
                key=peer, endpoint=None, last_handshake=int(NOW.timestamp()) - 10, rx_bytes=0, tx_bytes=0
            )
            for peer in desired.table("peers/wireguard").values
        ),
    )
    made = Facts(target=prefix(target), inputs=inputs, desired=desired, live=live, reports=reports)
    answer = as_wanted(made) if made.paths else DEFAULT
    return attrs.evolve(made, **{"answer": answer, **more})


def as_wanted(facts: Facts) -> RouteAnswer:
    """Return what a kernel says that has the wanted route to a learned address."""
    wanted = RouteKey(prefix=facts.paths[0].prefix)
    route = facts.desired.table("routes").values.get(wanted)
    if route is None:
        return DEFAULT
    return RouteAnswer(
        kind="unicast", prefix=wanted.prefix, next_hops=route.next_hops, protocol=147, metric=200, table=254
    )


def with_report(facts: Facts, table: str, **changes: object) -> Facts:
    """Return the facts with something else in the report of a table."""
    changed = attrs.evolve(facts.reports[table], **changes)
    return attrs.evolve(facts, reports={**facts.reports, table: changed})


def with_live(facts: Facts, **changes: object) -> Facts:
    """Return the facts with other sessions, tunnels or peers."""
    return attrs.evolve(facts, live=attrs.evolve(facts.live, **changes))
