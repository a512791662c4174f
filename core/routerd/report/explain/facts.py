"""The facts that an explanation is made of: values, without I/O."""

from collections.abc import Hashable, Iterator, Mapping, Sequence

import attrs

from routerd.clouds.gate import Gate
from routerd.clouds.words import outlook_of
from routerd.kernel.routes.lookup import RouteAnswer
from routerd.model.addresses import IPAddress, IPNetwork, inside, order
from routerd.model.claim import Claim
from routerd.model.report.explanation import Step, StepState
from routerd.model.report.phases import ClaimPhase
from routerd.model.route import LearnedRoute, NextHop, RejectedRoute
from routerd.model.session import Session
from routerd.model.specs import SAMEnrollmentPolicySpec
from routerd.model.subsystem import Flow
from routerd.reconcile.derive import Inputs, overlay
from routerd.reconcile.derive.overlay import Adjacency
from routerd.reconcile.desired import Desired
from routerd.reconcile.loop import TableReport
from routerd.report.live import Live


@attrs.frozen(kw_only=True)
class OwnerFacts:
    """A claim that has the address, as the administrator sees it; times are texts, empty when unknown.

    `decided_at` is when it was revoked or rejected.
    """

    name: str
    leaf: str
    phase: ClaimPhase
    policy: str = ""
    message: str = ""
    until: str = ""
    decided_at: str = ""


@attrs.frozen(kw_only=True)
class Facts:
    """Everything that an explanation may use.

    `owners` are the claims that have the address, `set_aside` the names of quarantined claims, whose
    addresses are not known; `memberships` are reasons why reflectors do not hold this leaf's claim.
    `flow_steps` are what subsystems say of the `flow` to the target, where the question names its source.
    """

    target: IPNetwork
    inputs: Inputs
    desired: Desired
    live: Live
    reports: Mapping[str, TableReport]
    gates: Mapping[str, Gate] = attrs.field(factory=dict)
    waiting: Mapping[str, str] = attrs.field(factory=dict)
    owners: tuple[OwnerFacts, ...] = ()
    set_aside: tuple[str, ...] = ()
    memberships: tuple[str, ...] = ()
    answer: RouteAnswer | None = None
    answer_error: str = ""
    flow: Flow | None = None
    flow_steps: tuple[Step, ...] = ()
    adjacencies: tuple[Adjacency, ...] = attrs.field(init=False)
    paths: tuple[LearnedRoute, ...] = attrs.field(init=False)

    @adjacencies.default
    def _adjacencies(self) -> tuple[Adjacency, ...]:
        return overlay.adjacencies(self.inputs).items

    @paths.default
    def _paths(self) -> tuple[LearnedRoute, ...]:
        """Return the paths of the longest learned prefix that holds the target."""
        learned = self.inputs.learned
        found = [each for each in (learned.routes if learned else ()) if inside(self.target, each.prefix)]
        longest = max((each.prefix.prefixlen for each in found), default=0)
        paths = [each for each in found if each.prefix.prefixlen == longest]
        return tuple(sorted(paths, key=lambda each: (not each.best, order(each.neighbour))))

    @property
    def name(self) -> str:
        """Return the target as a person writes it."""
        host = self.target.prefixlen == self.target.max_prefixlen
        return str(self.target.network_address if host else self.target)

    @property
    def admits(self) -> bool:
        """Say whether this router is a reflector that admits leaves."""
        return self.inputs.intent.first(SAMEnrollmentPolicySpec) is not None

    @property
    def own_claim(self) -> Claim | None:
        """Return the claim of this leaf that has the target, if one has."""
        for claim in self.inputs.own_claim_list():
            if any(inside(self.target, each) for each in claim.owned):
                return claim
        return None

    @property
    def sessions(self) -> Mapping[IPAddress, Session]:
        """Return the sessions that are wanted, by neighbour."""
        return self.desired.table("bgp/sessions").values

    def rejected(self) -> tuple[RejectedRoute, ...]:
        """Return the announced prefixes of the target that the policy refused."""
        learned = self.inputs.learned
        refused = (*(learned.rejected if learned else ()), *self.desired.rejected)
        found = (each for each in refused if inside(self.target, each.prefix))
        return tuple(sorted(found, key=lambda each: (order(each.neighbour), order(each.prefix))))

    def who(self, neighbour: IPAddress) -> str:
        """Return a neighbour with the name of its leaf or reflector: `10.0.0.1 (leaf-a)`."""
        session = self.sessions.get(neighbour)
        peer = next((each.peer for each in self.adjacencies if each.neighbour == neighbour), "")
        name = (session.leaf.strip() if session is not None else "") or peer
        return f"{neighbour} ({name})" if name else str(neighbour)

    def tunnel_to(self, hop: NextHop) -> Adjacency | None:
        """Return the adjacency of a next hop: by its gateway, else by its device."""
        for each in self.adjacencies:
            if hop.gateway == each.neighbour or (hop.gateway is None and hop.link == each.tunnel.link):
                return each
        return None

    def entry(self, table: str, key: Hashable) -> tuple[StepState, str]:
        """Return the state of a wanted entry of a table at the last reading."""
        report = self.reports.get(table)
        if report is None:
            return "bad", "not read yet"
        if not report.readable:
            return "bad", f"cannot be read: {report.error}"
        if key in report.pending:
            pending = report.pending[key]
            times = "once" if pending.failures == 1 else f"{pending.failures} times"
            return "bad", f"pending, failed {times}: {pending.error}"
        planned = next((change for change in report.planned if change.key == key), None)
        if planned is not None:
            gate = self.gates.get(table)
            return "bad", outlook_of(gate, planned).text if gate else "planned and not made"
        if report.in_sync < len(self.desired.table(table).values):
            return "note", f"{report.in_sync} of {report.desired} were in sync at the last reading"
        return "ok", "in sync"


def hops_text(facts: Facts, hops: Sequence[NextHop]) -> str:
    """Return next hops as a person writes them: `10.0.0.1 (leaf-a) by samt1`."""
    return " and ".join(_hop_texts(facts, hops)) or "nowhere"


def _hop_texts(facts: Facts, hops: Sequence[NextHop]) -> Iterator[str]:
    for hop in hops:
        if hop.gateway is None:
            yield f"device {hop.link}"
        else:
            yield facts.who(hop.gateway) + (f" by {hop.link}" if hop.link else "")
