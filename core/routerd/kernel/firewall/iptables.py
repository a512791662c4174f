"""The tables of one variant of iptables as a place for rules."""

from collections import Counter
from collections.abc import Mapping, Sequence

import attrs

from routerd.kernel.firewall.place import BARRIERS, Failures, one_by_one
from routerd.kernel.firewall.rules import iptables_place, iptables_rule, parse_saved
from routerd.kernel.process import run
from routerd.model.firewall import Accept, FirewallKey


@attrs.frozen(kw_only=True)
class IptablesPlace:
    """The tables of one variant of iptables as a `Place`; `is_only` when no other place holds rules."""

    program: str
    is_only: bool
    present: Mapping[FirewallKey, int]
    barriers: frozenset[str]
    closed: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()
    is_husk: bool = False

    @classmethod
    async def read(cls, program: str, *, is_only: bool) -> "IptablesPlace":
        """Return what `program -S` shows."""
        present: Counter[FirewallKey] = Counter()
        jumps: dict[str, set[str]] = {}
        closed: list[str] = []
        unread: list[str] = []
        for table in ("filter", "mangle") if is_only else ("filter",):
            for rule in parse_saved(await run(program, "-w", "5", "-t", table, "-S")):
                if rule.unread:
                    unread.append(f"{program}, table {table}: {rule.unread!r}")
                elif rule.key is not None and iptables_place(rule.key)[0] == table:
                    present[rule.key] += 1
                elif table == "filter":
                    jumps.setdefault(rule.chain, set()).add(rule.target)
                    if rule.is_policy and rule.chain == "OUTPUT" and rule.target in BARRIERS:
                        closed.append(f"chain OUTPUT of {program}")
        barriers = frozenset(chain for chain in ("INPUT", "FORWARD") if _reaches(chain, jumps, set()))
        # nft has named the chains of iptables-nft already.
        named = program == "iptables-nft" and not is_only
        return cls(
            program=program,
            is_only=is_only,
            present=present,
            barriers=barriers,
            closed=() if named else tuple(closed),
            unread=tuple(unread),
        )

    def wants(self, key: FirewallKey) -> bool:
        """Say whether this place needs the rule."""
        return self.is_only or (isinstance(key, Accept) and iptables_place(key)[1] in self.barriers)

    async def change(self, add: Sequence[FirewallKey], remove: Sequence[FirewallKey]) -> Failures:
        """Add and remove rules and return the failures by key."""
        failures = await one_by_one(
            remove, lambda key: self._lines(key, "-D", "") * self.present[key], self._restore
        )
        return failures | await one_by_one(add, lambda key: self._lines(key, "-I", " 1"), self._restore)

    def _lines(self, key: FirewallKey, verb: str, position: str) -> str:
        table, chain = iptables_place(key)
        return f"*{table}\n{verb} {chain}{position} {iptables_rule(key)}\nCOMMIT\n"

    async def _restore(self, script: str) -> str:
        # --noflush: one transaction that leaves every other rule where it is.
        return await run(f"{self.program}-restore", "-w", "5", "--noflush", text=script) if script else ""


def _reaches(chain: str, jumps: Mapping[str, set[str]], seen: set[str]) -> bool:
    """Say whether a packet in the chain can reach a target that drops it."""
    if chain in seen:
        return False
    seen.add(chain)
    targets = jumps.get(chain, set())
    return bool(targets & BARRIERS) or any(_reaches(target, jumps, seen) for target in targets)
