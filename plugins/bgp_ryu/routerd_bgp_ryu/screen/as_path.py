"""AS_PATH and AS4_PATH: segments, their syntax, and both as one path (RFC 6793). Pure."""

from collections.abc import Iterable

import attrs

AS_TRANS = 23456
LONGEST = 255
"""AS numbers of the longest path that is accepted; the longest of the Internet have some 60."""

SET, SEQUENCE, _CONFED_SEQUENCE, _CONFED_SET = 1, 2, 3, 4


@attrs.frozen
class Segment:
    """A part of a path; a set counts as one AS (RFC 4271 section 9.1.2.2)."""

    kind: int
    numbers: tuple[int, ...]

    @property
    def length(self) -> int:
        """Return what it adds to the length of a path."""
        return 1 if self.kind == SET else len(self.numbers)

    def wire(self, width: int) -> bytes:
        """Return it with AS numbers of `width` octets, four or two."""
        numbers = self.numbers if width == 4 else map(narrow, self.numbers)
        return bytes([self.kind, len(self.numbers)]) + b"".join(each.to_bytes(width) for each in numbers)


def parse(value: bytes, width: int) -> tuple[list[Segment], str]:
    """Return the segments of a path whose AS numbers have `width` octets, and what is wrong with it.

    RFC 7606 section 7.2; AS number 0 is RFC 7607, confederations are those of RFC 5065 section 5
    for a speaker outside of one.
    """
    found: list[Segment] = []
    start = 0
    while start < len(value):
        if start + 2 > len(value):
            return found, "a segment that is cut off"
        kind, count = value[start], value[start + 1]
        stop = start + 2 + count * width
        if kind in (_CONFED_SEQUENCE, _CONFED_SET):
            return found, "a segment of a confederation"
        if kind not in (SET, SEQUENCE):
            return found, f"a segment of type {kind}"
        if count == 0:
            return found, "an empty segment"
        if stop > len(value):
            return found, "a segment that is longer than the path"
        numbers = tuple(int.from_bytes(value[at : at + width]) for at in range(start + 2, stop, width))
        if 0 in numbers:
            return found, "AS number 0"
        found.append(Segment(kind, numbers))
        start = stop
    return found, ""


def length(path: Iterable[Segment]) -> int:
    """Return the length of a path."""
    return sum(segment.length for segment in path)


def merge(short: list[Segment], wide: list[Segment]) -> list[Segment]:
    """Return the path that AS_PATH and AS4_PATH are together (RFC 6793 section 4.2.3)."""
    missing = length(short) - length(wide)
    if missing < 0:
        return short
    front: list[Segment] = []
    for segment in short:
        if missing <= 0:
            break
        part = (
            segment if segment.length <= missing else attrs.evolve(segment, numbers=segment.numbers[:missing])
        )
        front.append(part)
        missing -= part.length
    return front + wide


def prepend(path: list[Segment], asn: int) -> list[Segment]:
    """Return a path with an AS number in front (RFC 4271 section 5.1.2)."""
    if path and path[0].kind == SEQUENCE and len(path[0].numbers) < 255:
        return [Segment(SEQUENCE, (asn, *path[0].numbers)), *path[1:]]
    return [Segment(SEQUENCE, (asn,)), *path]


def wire(path: Iterable[Segment], width: int = 4) -> bytes:
    """Return a path with AS numbers of `width` octets, four or two."""
    return b"".join(segment.wire(width) for segment in path)


def narrow(asn: int) -> int:
    """Return an AS number as two octets hold it (RFC 6793 section 4.2.2)."""
    return asn if asn <= 0xFFFF else AS_TRANS
