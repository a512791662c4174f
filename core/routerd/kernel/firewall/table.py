"""Openings in the host's packet filter, and the clamp of TCP's segment size, as a table.

Our own nftables table `ip routerd` holds every rule. Without nft, iptables holds everything. Rules of
ours carry the comment `routerd`; routerd never removes any other.

What complicates this:

* A packet that our chain accepts still runs through the chains of others, and a drop wins. So an
  opening also goes in front of each foreign base chain that drops or rejects: in iptables (both
  variants) to position 1 of INPUT or FORWARD of the table `filter`, in nftables to the top of the chain.
* A chain can drop by its policy, by a rule, by a jump to another chain, or by a verdict in a map.
* Another program may reload its rule set after us and take our rule away, so a rule is observed in
  every place that wants it, and `everywhere` is false when one of them lacks it.
* iptables-nft shows up in nftables too; the two views of one chain must not get the opening twice.
* Asking the legacy iptables loads its kernel modules, so routerd asks only where it is in use.
* A refused transaction of many rules does not name the culprit; then each rule goes by itself.
"""

import asyncio
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from routerd.errors import ProviderError, TransientError, UnsupportedError
from routerd.kernel.firewall.iptables import IptablesPlace
from routerd.kernel.firewall.nft import Ruleset
from routerd.kernel.firewall.place import Failures, Place
from routerd.kernel.firewall.rules import check, describe
from routerd.kernel.process import run
from routerd.model.change import Change
from routerd.model.firewall import FirewallKey, FirewallRule

_LEGACY_TABLES = Path("/proc/net/ip_tables_names")


class FirewallTable:
    """Implements `spi.Table[FirewallKey, FirewallRule]`.

    A rule that lacks one of its places is observed with `everywhere=False`. On a host
    with neither nft nor iptables every creation is an `UnsupportedError`.

    `closed` names, as of the last reading, the chains of other hooks than input and forward that drop
    by policy. routerd opens nothing there: the host's administrator decides about its own packets.
    """

    closed: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()

    async def observe(self) -> Mapping[FirewallKey, FirewallRule]:
        """Return our rules, read in every place."""
        places = await _places()
        self.closed = tuple(chain for place in places for chain in place.closed)
        self.unread = tuple(line for place in places for line in place.unread)
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
            except ProviderError as error:
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
    ruleset = Ruleset.read(await run("nft", "-j", "-a", "list", "ruleset")) if has_nft else Ruleset()
    variants = await _iptables_variants(ruleset, has_nft=has_nft)
    if has_nft:
        places.append(ruleset.own())
        foreign = ruleset.barriers(without_iptables="iptables-nft" in variants)
        places.extend(foreign)
    only = "" if has_nft else variants[0] if variants else ""
    saved = [await IptablesPlace.read(program, is_only=program == only) for program in variants]
    return [*places, *saved]


async def _iptables_variants(ruleset: Ruleset, *, has_nft: bool) -> list[str]:
    """Return the programs whose rules are in force; asking the legacy one loads its modules."""
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
    except (FileNotFoundError, PermissionError):
        return []  # the module is not loaded, or this user may not use it
    except OSError as error:
        # A guess would leave out rules that are in force.
        raise TransientError(f"{_LEGACY_TABLES}: it cannot be read: {error.strerror}") from error
