"""Changes of our table as scripts of nft. Pure.

nft applies a script whole or not at all, and a packet sees either the rules before it or those after it:
the kernel reads the generation of the rules once for each packet and hook. So chains that change are flushed
and filled in one script, and a base chain stays, because a new one would be another hook for a packet
that is just passing.
"""

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Network

from routerd_fabric_policy.policy import WITH_PORTS
from routerd_fabric_policy.ruleset import (
    FAMILY,
    LINKS,
    MARK,
    TABLE,
    Chain,
    Held,
    Line,
    Ruleset,
    member,
    outermost,
)

_PLACE = f"{FAMILY} {TABLE}"

_LISTED = 500
"""Maximum members in one line of a script."""

_PIECE = 1000
"""Maximum members in one script. The kernel takes messages of 200 kB from a process without privileges."""

Sets = Mapping[str, frozenset[str]]


def scripts(held: Held, ruleset: Ruleset | None, sets: Sets) -> list[str]:
    """Return the scripts, in their order, that turn what the kernel holds into rules and members of sets.

    `ruleset` is none where the table should have no rules. One script does everything, unless it has too
    many members for one message to the kernel: then others before it fill the sets, because a set without
    rules that name it does nothing. The list is empty when nothing differs.
    """
    members = {name: _outermost(name, found) for name, found in sets.items() if found}
    if ruleset is None and not members:
        return [f"delete table {_PLACE}\n"] if held.exists else []
    wanted = ruleset or Ruleset()
    needed = {LINKS: frozenset[str](), **dict.fromkeys(wanted.sets, frozenset[str]()), **members}
    if held.ruleset.strange:
        # Whatever it is may be in use by a rule. One script makes the whole table again.
        fresh = Held(counters=held.counters)
        lines = [f"delete table {_PLACE}", *_filled(fresh, needed), *_ruled(fresh, wanted, needed)]
        return [_joined(lines)]
    pieces: list[list[str]] = [[]]
    room = _PIECE
    for line in _filled(held, needed):
        size = line.count(",")
        if size > room:
            pieces.append([])
            room = _PIECE
        pieces[-1].append(line)
        room -= size
    pieces[-1] += _ruled(held, wanted, needed)
    return [_joined(piece) for piece in pieces if piece]


def _filled(held: Held, sets: Sets) -> Iterator[str]:
    """Yield what makes the table and fills its sets; each line has a bounded length."""
    if not held.exists:
        yield f"add table {_PLACE}"
        yield f"add chain {_PLACE} {MARK}"
    for name in sorted(sets.keys() - held.sets.keys()):
        yield _new_set(name)
    for name, members in sorted(sets.items()):
        present = held.sets.get(name, frozenset())
        yield from _elements("delete", name, present - members)
        yield from _elements("add", name, members - present)


def _ruled(held: Held, wanted: Ruleset, sets: Sets) -> Iterator[str]:
    """Yield what makes chains, rules and counters, and removes the sets and counters that nothing needs."""
    for name in sorted(wanted.counters - held.ruleset.counters):
        if name not in held.counters or not held.exists:
            packets, size = held.counters.get(name, (0, 0))
            yield f"add counter {_PLACE} {name} {{ packets {packets} bytes {size} ; }}"
    present = {chain.name: chain for chain in held.ruleset.chains}
    chains = {chain.name: chain for chain in wanted.chains}
    changed = sorted(name for name in present.keys() | chains if present.get(name) != chains.get(name))
    for name in changed:
        if name in present:
            yield f"flush chain {_PLACE} {name}"
    for name in changed:
        old, new = present.get(name), chains.get(name)
        if old is not None and name != MARK and (new is None or new.hook != old.hook):
            yield f"delete chain {_PLACE} {name}"
            old = None
        if old is None and new is not None:
            yield f"add chain {_PLACE} {name}{_hook(new)}"
    for name in changed:
        if name in chains:
            yield from _rules(chains[name])
    for name in sorted(held.sets.keys() - sets.keys()):
        yield f"delete set {_PLACE} {name}"
    for name in sorted(held.counters.keys() - wanted.counters) if held.exists else ():
        yield f"delete counter {_PLACE} {name}"


def _outermost(name: str, members: frozenset[str]) -> frozenset[str]:
    if name == LINKS:
        return members
    # A range is foreign. It stays a range, so that its removal finds it.
    ranges = frozenset(each for each in members if "-" in each)
    return ranges | frozenset(map(member, outermost(map(IPv4Network, members - ranges))))


def _joined(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _new_set(name: str) -> str:
    shape = "type ifname" if name == LINKS else "type ipv4_addr ; flags interval"
    return f"add set {_PLACE} {name} {{ {shape} ; }}"


def _elements(verb: str, name: str, members: frozenset[str]) -> Iterator[str]:
    quoted = [f'"{each}"' if name == LINKS else each for each in sorted(members)]
    for at in range(0, len(quoted), _LISTED):
        yield f"{verb} element {_PLACE} {name} {{ {', '.join(quoted[at : at + _LISTED])} }}"


def _hook(chain: Chain) -> str:
    if not chain.hook:
        return ""
    kind, hook, priority, policy = chain.hook.split()
    return f" {{ type {kind} hook {hook} priority {priority} ; policy {policy} ; }}"


def _rules(chain: Chain) -> Iterator[str]:
    for line in chain.lines:
        yield f"add rule {_PLACE} {chain.name} {' '.join(_words(line))}"


def _words(line: Line) -> Iterator[str]:
    if line.links:
        yield f"iifname {' '.join(line.links)}"
    if line.states:
        yield f"ct state {','.join(line.states)}"
    if line.source:
        yield f"ip saddr {' '.join(line.source)}"
    if line.destination:
        yield f"ip daddr {' '.join(line.destination)}"
    if line.ports and line.protocol is not None:
        ranges = (str(low) if low == high else f"{low}-{high}" for low, high in line.ports)
        yield f"{WITH_PORTS[line.protocol]} dport {{ {', '.join(ranges)} }}"
    elif line.protocol is not None:
        yield f"meta l4proto {line.protocol}"
    if line.counter:
        yield f'counter name "{line.counter}"'
    yield "reject with icmpx type admin-prohibited" if line.verdict == "reject" else line.verdict
    if line.comment:
        yield f'comment "{line.comment}"'
