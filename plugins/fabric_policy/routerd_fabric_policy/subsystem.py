"""The provider: its tables, what the status shows of the rules, and the route that `routerd verify` asks."""

from collections.abc import Iterator, Mapping, Sequence

from routerd.errors import TransientError
from routerd.model.json_value import JSONValue
from routerd.model.report.explanation import Step
from routerd.model.subsystem import FabricFacts, Flow, SubsystemState
from routerd.spi import ControlRoute, PluginContext, Resources
from routerd_fabric_policy.check import known_leaves, own_site
from routerd_fabric_policy.expected import TestsTable
from routerd_fabric_policy.live import outcomes
from routerd_fabric_policy.program import Nft
from routerd_fabric_policy.reading import read
from routerd_fabric_policy.ruleset import FAMILY, JUDGE, TABLE, Held
from routerd_fabric_policy.tables import PacketFilter, RulesTable
from routerd_fabric_policy.verdict import verdict


class FabricPolicySubsystem:
    """The rules of this router's kernel. Implements `spi.Subsystem`."""

    def __init__(self, context: PluginContext, packet_filter: PacketFilter | None = None) -> None:
        self._filter = packet_filter or Nft()
        self.rules = RulesTable(self._filter, context.refuse_dry_run)
        self.tests = TestsTable(context.state_dir / "tests.json", context.refuse_dry_run)

    async def start(self) -> None:
        """Do nothing; nft runs when a table is read."""

    async def aclose(self) -> None:
        """Leave the rules as they are."""

    async def states(self) -> Sequence[SubsystemState]:
        """Return a line for the replies, for each rule and for the default, with what it has counted."""
        return tuple(_states(await self._filter.read()))

    def control_routes(self) -> Sequence[ControlRoute]:
        """Return the route that `routerd verify` asks."""
        return (ControlRoute(method="GET", path="verify", handler=self._verify),)

    async def _verify(self, _: Mapping[str, JSONValue]) -> JSONValue:
        """Return the tests of the policy in force, each with its outcome in the kernel."""
        expected = self.tests.expected()
        if expected is None:
            raise TransientError(
                "fabric_policy: no policy is in force; write a FabricPolicy, or wait for the router"
            )
        found = outcomes(await self._filter.read(), expected)
        words = {True: "holds", False: "fails", None: "unknown"}
        return {
            "policy": expected.ref,
            "passed": all(each.holds is True for each in found),
            "tests": [
                {"test": each.test.text, "result": words[each.holds], "because": each.because}
                for each in found
            ],
        }


def explain(flow: Flow, resources: Resources, facts: FabricFacts) -> Sequence[Step]:
    """Return the rule that decides about a flow."""
    if not resources:
        return ()
    policy, _ = read(resources[0])
    try:
        found = verdict(policy, known_leaves(facts), flow, own_site(facts))
    except ValueError as error:
        return (Step("policy", "note", str(error)),)
    if found.answer == "passes":
        return (Step("policy", "ok", f"{' and '.join(found.passing)} of {policy.ref} lets it pass"),)
    if found.answer == "stopped":
        text = f"{' and '.join(found.stopping)} of {policy.ref} stops it"
        return (Step("policy", "bad", text, text),)
    passing, stopping = " and ".join(found.passing), " and ".join(found.stopping)
    if found.answer == "mixed":
        text = f"{passing} of {policy.ref} lets some of it pass, {stopping} stops some; name more with --by"
        return (Step("policy", "note", text),)
    text = f"{' and '.join(found.unclear)} of {policy.ref} may decide; a leaf that it names is not admitted"
    return (Step("policy", "note", text),)


def _states(held: Held) -> Iterator[SubsystemState]:
    if held.exists and not held.ours:
        yield SubsystemState(
            name="policy", text=f"table {FAMILY} {TABLE} of nftables is not ours; rename or delete it"
        )
    chain = held.ruleset.chain(JUDGE) if held.ours else None
    for line in chain.lines if chain is not None else ():
        label, _, text = line.comment.partition(": ")
        packets, size = held.counters.get(line.counter, (0, 0))
        yield SubsystemState(
            name=label or "a foreign rule",
            text=text or line.alien or line.verdict,
            counters={"packets": packets, "bytes": size},
        )
