"""The header of GRE, made, removed and refused, and the filter between tunnels with the same ends."""

from __future__ import annotations

import contextlib
import secrets
import socket
import struct
from collections.abc import Iterator

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from routerd_transport_ipip import gre, packets

KEYS = st.none() | st.integers(0, 2**32 - 1)
IGNORED = st.integers(0, 0x7F).map(lambda bits: bits << 3)
"""Bits 6 to 12, which a receiver ignores (RFC 2784, 2.2)."""
REFUSED = [0x4000, 0x1000, 0x0800, 0x0400, 0x0001, 0x0002, 0x0004]
"""Routing, sequence number, bits 4 and 5, version."""


def ones_complement(data: bytes) -> int:
    data += bytes(len(data) & 1)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def inner(payload: bytes = b"payload", *, unfinished: bool = False) -> bytes:
    """An IPv4 packet with UDP, without a checksum or with one that is left to hardware."""
    ends = bytes((10, 255, 0, 1, 10, 255, 0, 2))
    size = 8 + len(payload)
    left = ones_complement(ends + struct.pack("!HH", 17, size)) ^ 0xFFFF if unfinished else 0
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + size, 7, 0, 64, 17, 0) + ends
    head = head[:10] + struct.pack("!H", ones_complement(head)) + head[12:]
    return head + struct.pack("!HHHH", 1000, 2000, size, left) + payload


def message(
    payload: bytes, *, key: int | None = None, flags: int = 0, protocol: int = 0x0800, checksum: bool = False
) -> bytes:
    """A GRE packet as RFC 2784 and RFC 2890 describe it, built the slow way."""
    flags |= (0x8000 if checksum else 0) | (0x2000 if key is not None else 0)
    made = struct.pack("!HH", flags, protocol)
    made += bytes(4) if checksum else b""
    made += struct.pack("!I", key) if key is not None else b""
    made += payload
    return made[:4] + struct.pack("!H", ones_complement(made)) + made[6:] if checksum else made


def opened(packet: bytes, key: int | None) -> bytes | None:
    """Return the inner packet of one in the middle of a buffer, none when it is dropped."""
    buffer = bytearray(b"\xee" * 20 + packet)
    start = gre.opened(buffer, 20, len(buffer), gre.header(key))
    assert bytes(buffer) == b"\xee" * 20 + packet
    return bytes(buffer[start:]) if start else None


def test_the_bytes_are_those_of_the_rfcs() -> None:
    assert gre.header(None) == bytes.fromhex("0000 0800")
    assert gre.header(0) == bytes.fromhex("2000 0800 0000 0000")
    assert gre.header(0xC0FFEE) == bytes.fromhex("2000 0800 00c0 ffee")


@pytest.mark.parametrize(
    ("mode", "key", "bytes_added"), [("ipip", None, 20), ("fou", None, 28), ("gre", None, 24), ("gre", 0, 28)]
)
def test_a_header_and_its_key_are_counted(mode: str, key: int | None, bytes_added: int) -> None:
    assert packets.overhead(mode, key) == bytes_added
    if mode == "gre":
        assert bytes_added == 20 + len(gre.header(key))


@given(KEYS, st.binary(max_size=80))
def test_a_packed_payload_comes_out_the_same(key: int | None, payload: bytes) -> None:
    assert gre.header(key) + payload == message(payload, key=key)
    assert opened(message(payload, key=key), key) == payload


@given(KEYS, st.binary(max_size=81), IGNORED)
def test_a_right_checksum_is_accepted_and_reserved_bits_are_ignored(
    key: int | None, payload: bytes, bits: int
) -> None:
    assert opened(message(payload, key=key, checksum=True, flags=bits), key) == payload
    assert opened(message(payload, key=key, flags=bits), key) == payload


@given(KEYS, st.integers(0, 2**16 - 1), st.integers(1, 0xFFFE), st.booleans())
def test_a_wrong_checksum_is_dropped(key: int | None, number: int, error: int, odd: bool) -> None:
    made = bytearray(message(inner(struct.pack("!H", number) + b"!" * odd), key=key, checksum=True))
    (right,) = struct.unpack_from("!H", made, 4)
    wrong = (right + error) % 0xFFFF
    assume(wrong)  # zero is one that is not finished
    struct.pack_into("!H", made, 4, wrong)
    assert opened(bytes(made), key) is None


@pytest.mark.parametrize("key", [None, 7])
def test_a_checksum_over_merged_or_unfinished_bytes_is_not_checked(
    key: int | None,
) -> None:
    """It covers the bytes of the past or the future wire, which this host does not have."""
    unfinished = inner(unfinished=True)
    made = bytearray(message(unfinished, key=key, checksum=True))
    made[4] ^= 0xFF
    assert opened(bytes(made), key) == unfinished
    made[-1:] = b""
    assert opened(bytes(made), key) is None, "it is not whole"


def test_a_checksum_over_one_that_is_right_by_chance_is_not_checked() -> None:
    """One in 65535 sums up as it is; the checksum over it is still that of other bytes."""
    for number in range(1 << 16):
        unfinished = bytearray(inner(struct.pack("!H", number), unfinished=True))
        if packets.is_finished(unfinished, 0):
            break
    made = bytearray(message(bytes(unfinished), checksum=True))
    made[4] ^= 0xFF
    assert opened(bytes(made), None) == unfinished


@given(KEYS, st.binary(max_size=40))
def test_a_checksum_that_is_left_to_hardware_is_not_checked(key: int | None, payload: bytes) -> None:
    """A kernel tunnel on the same machine, or behind virtio, leaves zero in its place."""
    made = bytearray(message(payload, key=key, checksum=True))
    made[4:6] = bytes(2)
    assert opened(bytes(made), key) == payload


@given(KEYS, KEYS, st.booleans())
def test_another_key_is_dropped(ours: int | None, theirs: int | None, checksum: bool) -> None:
    found = opened(message(inner(), key=theirs, checksum=checksum), ours)
    assert (found is not None) == (ours == theirs)


@pytest.mark.parametrize("bit", REFUSED)
@pytest.mark.parametrize("key", [None, 7])
def test_a_header_beyond_rfc_2784_and_the_key_is_dropped(key: int | None, bit: int) -> None:
    assert opened(message(inner(), key=key, flags=bit), key) is None
    assert opened(message(inner(), key=key, flags=bit, checksum=True), key) is None


@given(KEYS, st.integers(0, 2**16 - 1).filter(lambda number: number != 0x0800))
def test_only_ipv4_is_accepted(key: int | None, protocol: int) -> None:
    assert opened(message(inner(), key=key, protocol=protocol), key) is None


@given(st.none() | st.integers(0, 2), st.binary(max_size=40), st.booleans())
def test_no_bytes_upset_the_reader(key: int | None, packet: bytes, likely: bool) -> None:
    if likely and len(packet) > 4:
        packet = bytes((packet[0] & 0xA0, 0, 8, 0)) + packet[4:]
    found = opened(packet, key)
    assert found is None or packet.endswith(found)


@given(KEYS, st.booleans(), st.data())
def test_a_truncated_header_is_dropped(key: int | None, checksum: bool, data: st.DataObject) -> None:
    whole = message(b"", key=key, checksum=checksum)
    assert opened(whole[: data.draw(st.integers(0, len(whole) - 1))], key) is None


@contextlib.contextmanager
def filtered(program: bytes) -> Iterator[tuple[socket.socket, socket.socket]]:
    """A pair of sockets without a network; the second one gets the packets that pass the program."""
    sending, hearing = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with sending, hearing:
        gre.attach(hearing, program)
        hearing.setblocking(False)
        yield sending, hearing


def passes(program: bytes, packet: bytes) -> bool:
    with filtered(program) as (sending, hearing):
        sending.send(bytes((0x46,)) + bytes(23) + packet)
        try:
            return bool(hearing.recv(100))
        except BlockingIOError:
            return False


@pytest.mark.parametrize("checksum", [False, True])
def test_the_filter_stops_only_the_packets_of_other_tunnels(checksum: bool) -> None:
    program = gre.filter_without([7, 0, 2**32 - 1])
    seen = {
        key: passes(program, message(b"x", key=key, checksum=checksum)) for key in (7, 0, 2**32 - 1, 8, None)
    }
    assert seen == {7: False, 0: False, 2**32 - 1: False, 8: True, None: True}
    program = gre.filter_without([None, 8])
    seen = {key: passes(program, message(b"x", key=key, checksum=checksum)) for key in (7, 8, None)}
    assert seen == {7: True, 8: False, None: False}


def test_a_filter_for_too_many_tunnels_is_still_valid() -> None:
    keys = [secrets.randbits(31) | 1 << 31 for _ in range(5000)]
    program = gre.filter_without(keys)
    assert not passes(program, message(b"x", key=keys[0]))
    assert passes(program, message(b"x", key=7))


def test_a_filter_can_be_replaced_and_removed() -> None:
    with filtered(gre.filter_without([7])) as (sending, hearing):
        for program, heard in (
            (gre.filter_without([8]), True),
            (b"", True),
            (gre.filter_without([7]), False),
        ):
            gre.attach(hearing, program)
            sending.send(bytes((0x45,)) + bytes(19) + message(b"x", key=7))
            if heard:
                assert hearing.recv(100)
            else:
                with pytest.raises(BlockingIOError):
                    hearing.recv(100)
        gre.attach(hearing, b"")
        gre.attach(hearing, b"")
