"""Openings in the host's packet filter, and the clamp of TCP's segment size, as a table.

Our own nftables table `ip routerd` holds every rule. That is enough for the clamp. It is not for
an opening: a packet that our chain accepts still runs through the chains of others, and one that
drops wins. So an opening is also put in front of each foreign base chain that drops or rejects
anything: in iptables (both variants) at position 1 of INPUT or FORWARD of the table `filter`, in
nftables at the top of the chain. Where nft is not installed, iptables holds everything.

Rules of ours carry the comment `routerd`; nothing else is ever removed.
"""

from __future__ import annotations

import asyncio
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import attrs

from routerd.errors import PermanentError, ProviderError, UnsupportedError
from routerd.kernel.firewall_rules import (
    check,
    describe,
    iptables_place,
    iptables_rule,
    nft_rule,
    parse_description,
    parse_saved,
)
from routerd.kernel.ownership import FIREWALL_TABLE
from routerd.kernel.process import run
from routerd.model.change import Change
from routerd.model.firewall import Accept, FirewallKey, FirewallRule, MssClamp

_LEGACY_TABLES = Path("/proc/net/ip_tables_names")
_BARRIERS = frozenset({"DROP", "REJECT"})
_CHAINS = {"input": "input", "forward": "forward"}
_CLOSED_FAMILIES = frozenset({"ip", "inet", "netdev"})
_OWN = f"""\
table ip {FIREWALL_TABLE} {{
  chain input {{ type filter hook input priority 0; policy accept; }}
  chain forward {{ type filter hook forward priority 0; policy accept; }}
  chain mss {{ type filter hook forward priority -150; policy accept; }}
}}
"""

Failures = dict[FirewallKey, ProviderError]


class Place(Protocol):
    """Somewhere that rules of ours stand or should stand."""

    @property
    def present(self) -> Mapping[FirewallKey, int]:
        """Return how often each rule of ours stands here."""
        ...

    def wants(self, key: FirewallKey) -> bool:
        """Say whether the rule has to stand here."""
        ...

    @property
    def closed(self) -> tuple[str, ...]:
        """Name chains that drop by policy and take no rules of ours."""
        ...

    @property
    def is_husk(self) -> bool:
        """Say whether this is ours and empty: somebody took the rules away."""
        ...

    async def change(self, add: Sequence[FirewallKey], remove: Sequence[FirewallKey]) -> Failures:
        """Add and remove rules and return the failures by key."""
        ...


class FirewallTable:
    """Implements `spi.Table[FirewallKey, FirewallRule]`.

    A rule that stands in some of its places only is observed with `everywhere=False`. On a host
    with neither nft nor iptables every creation is an `UnsupportedError`.

    `closed` names, as of the last look, the chains of other hooks than input and forward that drop
    by policy: nothing is opened there, for what a host may send is not ours to say.
    """

    closed: tuple[str, ...] = ()

    async def observe(self) -> Mapping[FirewallKey, FirewallRule]:
        """Return our rules, read from every place."""
        places = await _places()
        self.closed = tuple(chain for place in places for chain in place.closed)
        keys = {key for place in places for key in place.present}
        return {
            key: FirewallRule(
                everywhere=all(key in place.present or not place.wants(key) for place in places)
            )
            for key in keys
        }

    async def apply(
        self, changes: Sequence[Change[FirewallKey, FirewallRule]]
    ) -> Mapping[FirewallKey, ProviderError]:
        """Bring each rule to every place that wants it, or take it from wherever it is."""
        failures: Failures = {}
        wanted: list[FirewallKey] = []
        for change in changes:
            try:
                if change.after is not None:
                    check(change.key)
                    wanted.append(change.key)
            except PermanentError as error:
                failures[change.key] = error
        unwanted = [change.key for change in changes if change.after is None]
        places = await _places()
        for place in places:
            add = [key for key in wanted if place.wants(key) and key not in place.present]
            remove = [key for key in unwanted if key in place.present]
            if add or remove or (not wanted and place.is_husk):
                failures |= await place.change(add, remove)
        if not places:
            text = "neither nft nor iptables is installed; install nftables"
            failures |= {key: UnsupportedError(f"firewall rule {describe(key)}: {text}") for key in wanted}
        return failures


async def _places() -> list[Place]:
    places: list[Place] = []
    has_nft = shutil.which("nft") is not None
    ruleset = _Ruleset.read(await run("nft", "-j", "-a", "list", "ruleset")) if has_nft else _Ruleset()
    variants = await _iptables_variants(ruleset, has_nft=has_nft)
    if has_nft:
        places.append(ruleset.own())
        foreign = ruleset.barriers(without_iptables="iptables-nft" in variants)
        places.extend(foreign)
    alone = "" if has_nft else variants[0] if variants else ""
    saved = [await _Iptables.read(program, alone=program == alone) for program in variants]
    return [*places, *saved]


async def _iptables_variants(ruleset: _Ruleset, *, has_nft: bool) -> list[str]:
    """Return the programs whose rules are in force here; asking the legacy one loads its modules."""
    variants: list[str] = []
    plain = shutil.which("iptables-nft") or shutil.which("iptables-legacy")
    legacy_in_use = await asyncio.to_thread(_legacy_tables)
    if shutil.which("iptables-nft") and (ruleset.has_iptables or not has_nft):
        variants.append("iptables-nft")
    if shutil.which("iptables-legacy") and "filter" in legacy_in_use:
        variants.append("iptables-legacy")
    if plain is None and shutil.which("iptables"):
        variants.append("iptables")
    if not variants and not has_nft and shutil.which("iptables-legacy"):
        variants.append("iptables-legacy")
    return variants


def _legacy_tables() -> list[str]:
    try:
        return _LEGACY_TABLES.read_text().split()
    except OSError:
        return []


async def _one_by_one(
    keys: Iterable[FirewallKey], make: Callable[[FirewallKey], str], send: Callable[[str], Any]
) -> Failures:  # Any: an awaitable whose result is the program's output, which nobody reads
    """Send all as one transaction; when it is refused, each by itself to find the culprit."""
    scripts = {key: make(key) for key in keys}
    if not scripts:
        return {}
    try:
        await send("".join(scripts.values()))
        return {}
    except PermanentError:
        failures: Failures = {}
        for key, script in scripts.items():
            try:
                await send(script)
            except ProviderError as error:
                failures[key] = type(error)(f"firewall rule {describe(key)}: {error}")
        return failures
    except ProviderError as error:
        return dict.fromkeys(scripts, error)


# --- nftables ----------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class _Chain:
    """A chain of nftables: where it hooks in (empty for a plain chain), its rules with handles."""

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
class _Ruleset:
    """What `nft -j list ruleset` says; `maps` are the elements of the named ones."""

    chains: tuple[_Chain, ...] = ()
    maps: Mapping[tuple[str, str, str], object] = attrs.field(factory=dict)

    @classmethod
    def read(cls, text: str) -> _Ruleset:
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
        """Say whether there is a table of the name and shape that iptables-nft makes."""
        return any(
            chain.family == "ip" and chain.table == "filter" and chain.name in {"INPUT", "FORWARD"}
            for chain in self.chains
        )

    def own(self) -> _Nft:
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
        return _Nft(chains=tuple(mine), own=True, closed=closed)

    def barriers(self, *, without_iptables: bool) -> list[_Nft]:
        """Return foreign base chains that drop or reject, and those that hold rules of ours."""
        found: list[_Nft] = []
        for chain in self.chains:
            if chain.hook not in _CHAINS or chain.kind != "filter" or chain.family not in {"ip", "inet"}:
                continue
            if (chain.family, chain.table) == ("ip", FIREWALL_TABLE):
                continue
            if without_iptables and (chain.family, chain.table) == ("ip", "filter"):
                continue
            stops = chain.policy == "drop" or self._stops(chain, set())
            if stops or chain.ours:
                found.append(_Nft(chains=(chain,), stops=stops))
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
        """Yield what statements can do to a packet, and to which chain they can send it.

        A verdict may stand in a map, by itself or by its name: `ct state vmap { invalid : drop }`.
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
                    yield "drop" if value.get("name") in _BARRIERS else "", ""
                else:
                    yield from self._verdicts(chain, value)


@attrs.frozen(kw_only=True)
class _Nft:
    """Our own table, or one foreign base chain, as a `Place`."""

    chains: tuple[_Chain, ...]
    own: bool = False
    stops: bool = True
    closed: tuple[str, ...] = ()

    @property
    def present(self) -> Mapping[FirewallKey, int]:
        return Counter(key for chain in self.chains for _, key in chain.ours)

    @property
    def is_husk(self) -> bool:
        return self.own and bool(self.chains) and not self.present

    def wants(self, key: FirewallKey) -> bool:
        if self.own:
            return True
        return self.stops and isinstance(key, Accept) and key.chain == self.chains[0].hook

    async def change(self, add: Sequence[FirewallKey], remove: Sequence[FirewallKey]) -> Failures:
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
        failures = await _one_by_one(handles, lambda key: "".join(handles[key]), _nft)
        if add:
            # `table` and `chain` statements add what is missing and change nothing that is there.
            script = (lambda key: _OWN + self._insert(key)) if self.own else self._insert
            failures |= await _one_by_one(add, script, _nft)
        return failures

    def _insert(self, key: FirewallKey) -> str:
        if not self.own:
            return f"insert rule {self.chains[0].address} {nft_rule(key)}\n"
        chain = "mss" if isinstance(key, MssClamp) else key.chain
        return f"add rule ip {FIREWALL_TABLE} {chain} {nft_rule(key)}\n"


async def _nft(script: str) -> str:
    return await run("nft", "-f", "-", text=script)


# --- iptables ----------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class _Iptables:
    """The tables of one variant of iptables as a `Place`; `alone` when nothing else holds rules."""

    program: str
    alone: bool
    present: Mapping[FirewallKey, int]
    barriers: frozenset[str]
    closed: tuple[str, ...] = ()
    is_husk: bool = False

    @classmethod
    async def read(cls, program: str, *, alone: bool) -> _Iptables:
        present: Counter[FirewallKey] = Counter()
        jumps: dict[str, set[str]] = {}
        closed: list[str] = []
        for table in ("filter", "mangle") if alone else ("filter",):
            for rule in parse_saved(await run(program, "-w", "5", "-t", table, "-S")):
                if rule.key is not None and iptables_place(rule.key)[0] == table:
                    present[rule.key] += 1
                elif table == "filter":
                    jumps.setdefault(rule.chain, set()).add(rule.target)
                    if rule.is_policy and rule.chain == "OUTPUT" and rule.target in _BARRIERS:
                        closed.append(f"chain OUTPUT of {program}")
        barriers = frozenset(chain for chain in ("INPUT", "FORWARD") if _reaches(chain, jumps, set()))
        # What iptables-nft holds is nftables' too, and nft has named it where there is one.
        told = program == "iptables-nft" and not alone
        return cls(
            program=program,
            alone=alone,
            present=present,
            barriers=barriers,
            closed=() if told else tuple(closed),
        )

    def wants(self, key: FirewallKey) -> bool:
        return self.alone or (isinstance(key, Accept) and iptables_place(key)[1] in self.barriers)

    async def change(self, add: Sequence[FirewallKey], remove: Sequence[FirewallKey]) -> Failures:
        failures = await _one_by_one(
            remove, lambda key: self._lines(key, "-D", "") * self.present[key], self._restore
        )
        return failures | await _one_by_one(add, lambda key: self._lines(key, "-I", " 1"), self._restore)

    def _lines(self, key: FirewallKey, verb: str, position: str) -> str:
        table, chain = iptables_place(key)
        return f"*{table}\n{verb} {chain}{position} {iptables_rule(key)}\nCOMMIT\n"

    async def _restore(self, script: str) -> str:
        # --noflush: one transaction that leaves every other rule where it is.
        return await run(f"{self.program}-restore", "-w", "5", "--noflush", text=script) if script else ""


def _reaches(chain: str, jumps: Mapping[str, set[str]], seen: set[str]) -> bool:
    """Say whether a packet in the chain can come to a target that drops it."""
    if chain in seen:
        return False
    seen.add(chain)
    targets = jumps.get(chain, set())
    return bool(targets & _BARRIERS) or any(_reaches(target, jumps, seen) for target in targets)
