"""Damages BGP messages, the same way for the same seed, and judges what becomes of them.

Run as a program it takes a corpus: `python -m routerd_bgp_ryu.testing.mutation DIRECTORY --seed 1
--count 200000`. It ends with 1 at the first message that goes wrong, and prints that message.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import attrs

from routerd_bgp_ryu.screen import NOTIFICATION, UPDATE, Fault, Framer, Screen, Terms
from routerd_bgp_ryu.testing.raw import message

HEADER = 19
TERMS = Terms(
    asn=64577,
    peer_asn=64577,
    router_id=IPv4Address("10.0.0.1"),
    cluster_id=IPv4Address("10.0.0.1"),
    local=IPv4Address("127.0.77.2"),  # on loopback, as the recordings are
)
KINDS_OF_TERMS = (TERMS, attrs.evolve(TERMS, wide=False), attrs.evolve(TERMS, peer_asn=64999))
_ODD = (0, 1, 2, 3, 4, 5, 7, 8, 31, 32, 33, 63, 64, 127, 128, 254, 255)
_KINDS = (*range(42), 128, 129, 200, 254, 255)


def corpus(directory: Path) -> list[bytes]:
    """Return the messages of a directory: lines of hexadecimal digits in files that end in `.hex`."""
    lines = [line for each in sorted(directory.glob("*.hex")) for line in each.read_text().splitlines()]
    return [bytes.fromhex(line) for line in lines if line and not line.startswith("#")]


class Mutator:
    """Yields damaged messages without end; the nth depends on the seed and the corpus only."""

    def __init__(self, messages: Sequence[bytes], seed: int) -> None:
        self._messages = list(messages)
        self._random = random.Random(seed)  # noqa: S311 - it must be repeatable, and nothing is secret

    def __iter__(self) -> Iterator[bytes]:
        """Yield messages; most have a header that fits, so that a reader looks at what is behind it."""
        chance = self._random
        while True:
            original = chance.choice(self._messages)
            kind, body = original[18], original[HEADER:]
            for _ in range(chance.choice((0, 1, 1, 1, 2, 3, 6))):
                if kind == UPDATE and chance.random() < 0.6:
                    body = self._structure(body)
                else:
                    body = chance.choice(self._damages)(self, body)
            body = body[: 4096 - HEADER]
            yield self._headed(kind, body)

    def _headed(self, kind: int, body: bytes) -> bytes:
        chance = self._random
        whole = bytearray(message(kind, body))
        if chance.random() < 0.04:
            at = chance.randrange(HEADER)
            whole[at] = chance.choice((*_ODD, whole[at] ^ (1 << chance.randrange(8))))
        return bytes(whole)

    # --- anywhere ------------------------------------------------------------------------------------

    def _flip(self, body: bytes) -> bytes:
        if not body:
            return body
        damaged = bytearray(body)
        damaged[self._random.randrange(len(body))] ^= 1 << self._random.randrange(8)
        return bytes(damaged)

    def _odd(self, body: bytes) -> bytes:
        at = self._random.randrange(len(body) + 1)
        return body[:at] + bytes([self._random.choice(_ODD)]) + body[at + 1 :]

    def _cut(self, body: bytes) -> bytes:
        return body[: self._random.randrange(len(body) + 1)]

    def _remove(self, body: bytes) -> bytes:
        at = self._random.randrange(len(body) + 1)
        return body[:at] + body[at + self._random.randint(1, 9) :]

    def _insert(self, body: bytes) -> bytes:
        at, size = self._random.randrange(len(body) + 1), self._random.choice((1, 1, 2, 4, 17, 300))
        return body[:at] + self._random.randbytes(size) + body[at:]

    def _repeat(self, body: bytes) -> bytes:
        at = self._random.randrange(len(body) + 1)
        part = body[at : at + self._random.randint(1, 40)]
        return body[:at] + part * self._random.choice((2, 2, 3, 60)) + body[at + len(part) :]

    def _splice(self, body: bytes) -> bytes:
        other = self._random.choice(self._messages)[HEADER:]
        at, there = self._random.randrange(len(body) + 1), self._random.randrange(len(other) + 1)
        return body[:at] + other[there:]

    def _off(self, body: bytes) -> bytes:
        """Add to an octet, or to two, which may be a length."""
        width = self._random.choice((1, 2))
        if len(body) < width:
            return body
        at = self._random.randrange(len(body) - width + 1)
        value = int.from_bytes(body[at : at + width]) + self._random.choice((-4, -2, -1, 1, 2, 4))
        return body[:at] + (value % (1 << 8 * width)).to_bytes(width) + body[at + width :]

    _damages: tuple[Callable[[Mutator, bytes], bytes], ...] = (
        _flip,
        _flip,
        _odd,
        _cut,
        _remove,
        _insert,
        _repeat,
        _splice,
        _off,
    )

    # --- UPDATE --------------------------------------------------------------------------------------

    def _structure(self, body: bytes) -> bytes:
        """Damage the attributes of an UPDATE, and mostly keep the lengths around them right."""
        chance = self._random
        gone = int.from_bytes(body[:2])
        size = int.from_bytes(body[2 + gone : 4 + gone])
        block, reach = body[4 + gone : 4 + gone + size], body[4 + gone + size :]
        attributes = list(_pieces(block))
        what = chance.randrange(7)
        at = chance.randrange(len(attributes) + 1)
        if what == 0:
            attributes[at : at + 1] = []
        elif what == 1:
            attributes.insert(at, chance.choice(attributes) if attributes else b"")
        elif what == 2:
            attributes.insert(at, self._attribute())
        elif what == 3:
            chance.shuffle(attributes)
        elif at < len(attributes):
            attributes[at] = self._changed(attributes[at], what)
        block = b"".join(attributes)
        size = max(0, len(block) + (chance.choice((-5, -1, 1, 5)) if chance.random() < 0.08 else 0))
        return body[: 2 + gone] + min(size, 0xFFFF).to_bytes(2) + block + reach

    def _changed(self, attribute: bytes, what: int) -> bytes:
        chance = self._random
        if what == 4:  # flags
            return (
                bytes([chance.choice((0x00, 0x40, 0x80, 0xC0, 0xE0, 0x50, 0x90, 0xD0, 0xFF))]) + attribute[1:]
            )
        if what == 5:  # kind
            return attribute[:1] + bytes([chance.choice(_KINDS)]) + attribute[2:]
        value = attribute[4 if attribute[0] & 0x10 else 3 :]
        value = chance.choice(self._damages)(self, value)[:255]
        return bytes([attribute[0] & 0xEF, *attribute[1:2], len(value)]) + value

    def _attribute(self) -> bytes:
        chance = self._random
        value = chance.randbytes(chance.choice((0, 1, 2, 3, 4, 5, 6, 8, 12, 20, 24, 255)))
        return bytes([chance.choice((0x40, 0x80, 0xC0, 0xE0)), chance.choice(_KINDS), len(value)]) + value


def _pieces(block: bytes) -> Iterator[bytes]:
    start = 0
    while start + 3 <= len(block):
        long = bool(block[start] & 0x10)
        size = int.from_bytes(block[start + 2 : start + (4 if long else 3)])
        stop = start + (4 if long else 3) + size
        yield block[start:stop]
        start = stop


# --- what must hold ----------------------------------------------------------------------------------


class Judge:
    """Says what becomes of messages, and raises AssertionError where that is not good enough."""

    def __init__(self, packet: Any) -> None:  # noqa: ANN401 - Any: the library ships no types
        self._packet = packet
        self.became: Counter[str] = Counter()

    def __call__(self, said: bytes, terms: Terms) -> None:
        """Judge one message on a session with such terms."""
        screen = Screen(terms)
        plain = Screen(attrs.evolve(terms, wide=True))
        for whole in Framer().feed(said):
            if isinstance(whole, Fault):
                self._fault(whole)
                continue
            verdict = screen.judge(whole)
            if verdict.fault is not None:
                assert whole[18] != NOTIFICATION, "a NOTIFICATION is answered"
                self._fault(verdict.fault)
                continue
            self.became[
                "withdrawn" if verdict.withdrawn else "passed" if verdict.messages else "ignored"
            ] += 1
            for each in verdict.messages:
                again = plain.judge(each)
                assert (again.messages, again.fault, again.flaws) == ((each,), None, ()), (
                    "judged again, it differs"
                )
                self._read(each)

    def _fault(self, fault: Fault) -> None:
        self.became["ended"] += 1
        assert 1 <= fault.code[0] <= 7, "no code of a NOTIFICATION"
        assert fault.text, "no words"

    def _read(self, said: bytes) -> None:
        parsed, _, rest = self._packet.BGPMessage.parser(said)
        assert rest == b"", "something is left over"
        parsed.serialize()
        if parsed.type != UPDATE:
            return
        kinds = [int(each.type) for each in parsed.path_attributes]
        assert len(kinds) == len(set(kinds)), "an attribute twice"
        assert not {14, 15, 17, 18} & set(kinds), "an attribute of another form"
        assert not parsed.nlri or {1, 2, 3} <= set(kinds), "prefixes without what they need"
        for each in (*parsed.nlri, *parsed.withdrawn_routes):
            IPv4Network(each.formatted_nlri_str)


def main() -> int:
    """Run the mutator against the screen and the library's parser."""
    parser = argparse.ArgumentParser(prog="mutation")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=200_000)
    arguments = parser.parse_args()
    packet = import_module("os_ken.lib.packet.bgp")
    import_module("routerd_bgp_ryu.child.quirks").mend_parser()
    judge = Judge(packet)
    messages = iter(Mutator(corpus(arguments.directory), arguments.seed))
    for number, said in zip(range(arguments.count), messages, strict=False):
        terms = KINDS_OF_TERMS[number % len(KINDS_OF_TERMS)]
        try:
            judge(said, terms)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what is looked for
            what = f"{type(error).__name__}: {error}"
            print(f"seed {arguments.seed}, message {number}, {terms}: {what}\n{said.hex()}")  # noqa: T201 - a program
            return 1
    print(arguments.count, dict(judge.became))  # noqa: T201 - as above
    return 0


if __name__ == "__main__":
    sys.exit(main())
