"""The rule set of nftables: our own table, and the foreign base chains that drop or reject."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs

from routerd.errors import ProviderError
from routerd.kernel.firewall.place import BARRIERS, Failures, one_by_one
from routerd.kernel.firewall.rules import nft_rule, parse_description
from routerd.kernel.ownership import FIREWALL_TABLE, SUBSYSTEM_TABLE_PREFIX
from routerd.kernel.process import run
from routerd.model.firewall import Accept, FirewallKey, MssClamp

_CHAINS = {"input": "input", "forward": "forward"}
_CLOSED_FAMILIES = frozenset({"ip", "inet", "netdev"})
_OWN = f"""\
table ip {FIREWALL_TABLE} {{
  chain input {{ type filter hook input priority 0; policy accept; }}
  chain forward {{ type filter hook forward priority 0; policy accept; }}
  chain mss {{ type filter hook forward priority -150; policy accept; }}
}}
"""


@attrs.frozen(kw_only=True)
class _Chain:
    """A chain of nftables: its hook (empty for a plain chain), its rules with handles."""

    family: str
    table: str
    name: str
    hook: str = ""
    kind: str = ""
    policy: str = "accept"
    rules: tuple[tuple[int, str, Sequence[Mapping[str, Any]]], ...] = ()  # Any: nft's JSON statements

    @property
    def address(self) -> str:
        return f"{self.family} {self.table} {self.name}"

    @property
    def ours(self) -> list[tuple[int, FirewallKey]]:
        """Return the handle and the key of each rule of ours."""
        keys = [(handle, parse_description(comment)) for handle, comment, _ in self.rules]
        return [(handle, key) for handle, key in keys if key is not None]


@attrs.frozen(kw_only=True)
class Ruleset:
    """The output of `nft -j list ruleset`; `maps` are the elements of the named maps."""

    chains: tuple[_Chain, ...] = ()
    maps: Mapping[tuple[str, str, str], object] = attrs.field(factory=dict)

    @classmethod
    def read(cls, text: str) -> "Ruleset":
        """Return the rule set in the JSON of nft."""
        chains: dict[tuple[str, str, str], _Chain] = {}
        maps: dict[tuple[str, str, str], object] = {}
        for item in json.loads(text)["nftables"]:
            chain, rule, named = item.get("chain"), item.get("rule"), item.get("map")
            if named is not None:
                maps[named["family"], named["table"], named["name"]] = named.get("elem", [])
            if chain is not None:
                chains[chain["family"], chain["table"], chain["name"]] = _Chain(
                    family=chain["family"], table=chain["table"], name=chain["name"],
                    hook=chain.get("hook", ""), kind=chain.get("type", ""),
                    policy=chain.get("policy", "accept"),
                )  # fmt: skip
            if rule is not None:
                where = rule["family"], rule["table"], rule["chain"]
                entry = rule["handle"], rule.get("comment", ""), rule.get("expr", [])
                chains[where] = attrs.evolve(chains[where], rules=(*chains[where].rules, entry))
        return cls(chains=tuple(chains.values()), maps=maps)

    @property
    def has_iptables(self) -> bool:
        """Say whether nftables has a table of the name and shape that iptables-nft makes."""
        return any(
            chain.family == "ip" and chain.table == "filter" and chain.name in {"INPUT", "FORWARD"}
            for chain in self.chains
        )

    def own(self) -> "NftPlace":
        """Return our own table."""
        mine = [c for c in self.chains if (c.family, c.table) == ("ip", FIREWALL_TABLE)]
        closed = tuple(
            f"chain {chain.address} (hook {chain.hook})"
            for chain in self.chains
            if chain.family in _CLOSED_FAMILIES
            and chain.hook
            and chain.hook not in _CHAINS
            and chain.policy == "drop"
        )
        return NftPlace(chains=tuple(mine), own=True, closed=closed)

    def barriers(self, *, without_iptables: bool) -> list["NftPlace"]:
        """Return foreign base chains that drop or reject, and those that hold rules of ours."""
        found: list[NftPlace] = []
        for chain in self.chains:
            if chain.hook not in _CHAINS or chain.kind != "filter" or chain.family not in {"ip", "inet"}:
                continue
            if (chain.family, chain.table) == ("ip", FIREWALL_TABLE):
                continue
            if chain.table.startswith(SUBSYSTEM_TABLE_PREFIX):
                continue
            if without_iptables and (chain.family, chain.table) == ("ip", "filter"):
                continue
            stops = chain.policy == "drop" or self._stops(chain, set())
            if stops or chain.ours:
                found.append(NftPlace(chains=(chain,), stops=stops))
        return found

    def _stops(self, chain: _Chain, seen: set[str]) -> bool:
        """Say whether a rule of the chain, or of one that it jumps to, drops or rejects."""
        if chain.name in seen:
            return False
        seen.add(chain.name)
        for verb, target in self._verdicts(chain, [statements for _, _, statements in chain.rules]):
            if verb in {"drop", "reject"}:
                return True
            for other in self.chains:
                same_table = (other.family, other.table) == (chain.family, chain.table)
                if same_table and other.name == target and self._stops(other, seen):
                    return True
        return False

    def _verdicts(self, chain: _Chain, found: object) -> Iterator[tuple[str, str]]:
        """Yield the verdicts of statements, each with the chain to which it can send a packet.

        A verdict may be in a map, inline or by the map's name: `ct state vmap { invalid : drop }`.
        """
        if isinstance(found, str) and found.startswith("@"):
            yield from self._verdicts(chain, self.maps.get((chain.family, chain.table, found[1:])))
        elif isinstance(found, list):
            for each in found:
                yield from self._verdicts(chain, each)
        elif isinstance(found, dict):
            for name, value in found.items():
                if name in {"drop", "reject"}:
                    yield name, ""
                elif name in {"jump", "goto"}:
                    yield name, value["target"]
                elif name == "xt":
                    yield "drop" if value.get("name") in BARRIERS else "", ""
                else:
                    yield from self._verdicts(chain, value)


@attrs.frozen(kw_only=True)
class NftPlace:
    """Our own table, or one foreign base chain, as a `Place`."""

    chains: tuple[_Chain, ...]
    own: bool = False
    stops: bool = True
    closed: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()

    @property
    def present(self) -> Mapping[FirewallKey, int]:
        """Return how often this place holds each rule of ours."""
        return Counter(key for chain in self.chains for _, key in chain.ours)

    @property
    def is_husk(self) -> bool:
        """Say whether our own table lost its rules to another program."""
        return self.own and bool(self.chains) and not self.present

    def wants(self, key: FirewallKey) -> bool:
        """Say whether this place needs the rule."""
        if self.own:
            return True
        return self.stops and isinstance(key, Accept) and key.chain == self.chains[0].hook

    async def change(self, add: Sequence[FirewallKey], remove: Sequence[FirewallKey]) -> Failures:
        """Add and remove rules and return the failures by key."""
        if self.own and not add and set(self.present) <= set(remove):
            try:
                await _nft(f"delete table ip {FIREWALL_TABLE}\n")
            except ProviderError as error:
                return dict.fromkeys(remove, error)
            return {}
        handles: dict[FirewallKey, list[str]] = {key: [] for key in remove}
        for chain in self.chains:
            for handle, key in chain.ours:
                if key in handles:
                    handles[key].append(f"delete rule {chain.address} handle {handle}\n")
        failures = await one_by_one(handles, lambda key: "".join(handles[key]), _nft)
        if add:
            # `table` and `chain` statements add what is missing and change nothing that is there.
            script = (lambda key: _OWN + self._insert(key)) if self.own else self._insert
            failures |= await one_by_one(add, script, _nft)
        return failures

    def _insert(self, key: FirewallKey) -> str:
        if not self.own:
            return f"insert rule {self.chains[0].address} {nft_rule(key)}\n"
        chain = "mss" if isinstance(key, MssClamp) else key.chain
        return f"add rule ip {FIREWALL_TABLE} {chain} {nft_rule(key)}\n"


async def _nft(script: str) -> str:
    return await run("nft", "-f", "-", text=script)
