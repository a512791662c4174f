"""Sets of flows as boxes, and the exact walk of a list of clauses over them. Pure.

A flow is a point: source, destination, protocol, destination port. A test about a prefix, every protocol or
every port is a box of points, which several clauses may divide between them. `walk` yields the parts, so
that an answer about a box holds for each of its points.
"""

from collections.abc import Iterator, Sequence
from itertools import product

import attrs

Span = tuple[int, int]
Spans = tuple[Span, ...]
Box = tuple[Span, Span, Span, Span]
"""Source, destination, protocol, port: spans whose ends belong to them."""

ADDRESSES: Span = (0, 2**32 - 1)
PROTOCOL_NUMBERS: Span = (0, 255)
PORTS: Span = (0, 65535)


@attrs.frozen(kw_only=True)
class Region:
    """All flows whose four values each lie in one of its spans."""

    source: Spans = (ADDRESSES,)
    destination: Spans = (ADDRESSES,)
    protocols: Spans = (PROTOCOL_NUMBERS,)
    ports: Spans = (PORTS,)

    @property
    def sides(self) -> tuple[Spans, Spans, Spans, Spans]:
        """Return the spans in the order of a box."""
        return self.source, self.destination, self.protocols, self.ports

    def boxes(self) -> Iterator[Box]:
        """Yield the boxes of which it consists."""
        yield from product(*self.sides)


@attrs.frozen(kw_only=True)
class Clause:
    """A rule as the walk sees it: its label, its region, and whether it lets flows pass.

    `wide` is a larger region: a flow in `wide` and not in `region` may match or not, because it is not
    known what a leaf owns. `passes` is none where even that is not known.
    """

    label: str
    passes: bool | None
    region: Region = Region()
    wide: Region | None = None


@attrs.frozen
class Part:
    """A part of a box, and the clauses of which one decides about it; one clause is certain."""

    box: Box
    deciding: tuple[Clause, ...]


def merged(spans: Sequence[Span]) -> Spans:
    """Return the same numbers as spans in order, none touching another."""
    found: list[Span] = []
    for low, high in sorted(spans):
        if found and low <= found[-1][1] + 1:
            found[-1] = found[-1][0], max(high, found[-1][1])
        else:
            found.append((low, high))
    return tuple(found)


def walk(box: Box, clauses: Sequence[Clause]) -> Iterator[Part]:
    """Yield the parts of a box that different clauses decide, each once; the last clause takes the rest."""
    waiting: list[tuple[Box, int, tuple[Clause, ...]]] = [(box, 0, ())]
    while waiting:
        part, index, before = waiting.pop()
        if index == len(clauses):
            yield Part(part, before)
            continue
        clause = clauses[index]
        inside, outside = _split(part, clause.region)
        for each in inside:
            yield Part(each, (*before, clause))
        for each in outside:
            maybe, never = _split(each, clause.wide) if clause.wide is not None else ([], [each])
            waiting += [(piece, index + 1, (*before, clause)) for piece in maybe]
            waiting += [(piece, index + 1, before) for piece in never]


def _split(box: Box, region: Region) -> tuple[list[Box], list[Box]]:
    """Return the parts of a box inside and outside of a region."""
    inside, outside = [box], []
    for side, spans in enumerate(region.sides):
        still = []
        for part in inside:
            within, without = _cut(part[side], spans)
            still += [_with(part, side, span) for span in within]
            outside += [_with(part, side, span) for span in without]
        inside = still
    return inside, outside


def _cut(span: Span, spans: Spans) -> tuple[list[Span], list[Span]]:
    low, high = span
    within: list[Span] = []
    without: list[Span] = []
    for first, last in spans:
        if last < low or first > high:
            continue
        if first > low:
            without.append((low, first - 1))
        within.append((max(first, low), min(last, high)))
        low = last + 1
        if low > high:
            return within, without
    without.append((low, high))
    return within, without


def _with(box: Box, side: int, span: Span) -> Box:
    source, destination, protocol, port = (span if at == side else old for at, old in enumerate(box))
    return source, destination, protocol, port
