"""Packets out of a tunnel: accepted, marked, finished, dropped. Pure."""

from __future__ import annotations

import random
import struct

import pytest

from routerd_transport_ipip import packets

NOT_ECT, ECT_1, ECT_0, CE = 0, 1, 2, 3


def checksum(data: bytes) -> int:
    """RFC 1071, the slow way."""
    data += bytes(len(data) & 1)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def packet(
    payload: bytes = b"", *, tos: int = 0, protocol: int = 17, fragment: int = 0, options: bytes = b""
) -> bytes:
    head = struct.pack(
        "!BBHHHBBH4s4s",
        0x45 + len(options) // 4,
        tos,
        20 + len(options) + len(payload),
        1,
        fragment,
        64,
        protocol,
        0,
        b"\x0a\x00\x00\x01",
        b"\x0a\x00\x00\x02",
    )
    head += options
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + payload


def pseudo(protocol: int, size: int) -> bytes:
    return b"\x0a\x00\x00\x01\x0a\x00\x00\x02" + struct.pack("!HH", protocol, size)


def partial(protocol: int, size: int) -> int:
    """The kernel's value in the place of an unfinished checksum: the folded sum of the pseudo-header."""
    return checksum(pseudo(protocol, size)) ^ 0xFFFF


def segment(payload: bytes, field: int | None = None, flags: int = 0x10) -> bytes:
    made = struct.pack("!HHIIBBHHH", 1, 2, 3, 4, 0x50, flags, 100, 0, 0) + payload
    value = checksum(pseudo(6, len(made)) + made) if field is None else field
    return made[:16] + struct.pack("!H", value) + made[18:]


def datagram(payload: bytes, field: int | None = None) -> bytes:
    made = struct.pack("!HHHH", 1, 2, 8 + len(payload), 0) + payload
    value = checksum(pseudo(17, len(made)) + made) if field is None else field
    return made[:6] + struct.pack("!H", value) + made[8:]


def accepted(outer_tos: int, inner: bytes, tail: bytes = b"") -> bytes | None:
    """Return the result of `accept` for a packet in the middle of a buffer."""
    buffer = bytearray(b"\xee" * 30 + inner + tail)
    end = packets.accept(buffer, 30, len(buffer), outer_tos)
    assert buffer[:30] == b"\xee" * 30
    return bytes(buffer[30:end]) if end else None


def is_finished(inner: bytes) -> bool:
    return packets.is_finished(bytearray(bytes(20) + inner), 20)


# RFC 6040, figure 4: (inner, outer) -> what leaves the tunnel, None for a drop.
FIGURE_4 = {
    (NOT_ECT, NOT_ECT): NOT_ECT, (NOT_ECT, ECT_0): NOT_ECT, (NOT_ECT, ECT_1): NOT_ECT, (NOT_ECT, CE): None,
    (ECT_0, NOT_ECT): ECT_0, (ECT_0, ECT_0): ECT_0, (ECT_0, ECT_1): ECT_1, (ECT_0, CE): CE,
    (ECT_1, NOT_ECT): ECT_1, (ECT_1, ECT_0): ECT_1, (ECT_1, ECT_1): ECT_1, (ECT_1, CE): CE,
    (CE, NOT_ECT): CE, (CE, ECT_0): CE, (CE, ECT_1): CE, (CE, CE): CE,
}  # fmt: skip


@pytest.mark.parametrize(("marks", "left"), FIGURE_4.items())
def test_congestion_marks_follow_rfc_6040(marks: tuple[int, int], left: int | None) -> None:
    inner, outer = marks
    for dscp in (0, 0xB8, 0xFC):
        got = accepted(outer | 0x28, packet(b"x", tos=dscp | inner))
        assert got == (None if left is None else packet(b"x", tos=dscp | left))


@pytest.mark.parametrize(("inner", "outer"), [(NOT_ECT, 0), (ECT_0, 2), (ECT_1, 1), (CE, 2)])
def test_the_outer_header_has_the_inner_marks_but_congestion(inner: int, outer: int) -> None:
    assert packets.outer_ecn(inner | 0xB8) == outer


def test_bytes_behind_the_packet_are_cut_off() -> None:
    assert accepted(0, packet(b"payload"), b"trailer") == packet(b"payload")


@pytest.mark.parametrize(
    "inner",
    [
        b"",
        b"\x45",
        bytes(20),
        b"\x65" + packet()[1:],
        b"\x44" + packet()[1:],
        b"\x46" + packet()[1:],
        packet(b"cut")[:-1],
        packet()[:2] + b"\x00\x13" + packet()[4:],
    ],
)
def test_an_incomplete_packet_is_dropped(inner: bytes) -> None:
    assert accepted(0, inner) is None


def test_no_bytes_upset_the_reader() -> None:
    dice = random.Random(791)
    for _ in range(20000):
        inner = bytearray(dice.randbytes(dice.randrange(90)))
        if inner and dice.random() < 0.8:
            inner[0] = 0x40 | dice.randrange(16)
            if len(inner) > 9:
                inner[2:4] = struct.pack("!H", dice.randrange(len(inner) + 2))
                inner[9] = dice.choice((1, 6, 17, inner[9]))
        buffer = bytearray(20) + inner
        end = packets.accept(buffer, 20, len(buffer), dice.randrange(4))
        if end:
            assert 40 <= end <= len(buffer)
            packets.is_finished(buffer, 20)
            packets.too_big(bytes(buffer[20:end]), 1280)
            if buffer[29] in (6, 17):
                assert len(packets.virtio_header(buffer, 20, 60)) == 10


@pytest.mark.parametrize("payload", [b"", b"odd", b"even", bytes(1400)])
@pytest.mark.parametrize("options", [b"", b"\x01" * 8])
def test_a_finished_checksum_is_left_alone(payload: bytes, options: bytes) -> None:
    assert is_finished(packet(segment(payload), protocol=6, options=options))
    assert is_finished(packet(datagram(payload), protocol=17, options=options))
    assert is_finished(packet(segment(payload, field=1), protocol=6, options=options)), "wrong, not partial"


def test_an_unfinished_checksum_is_recognised() -> None:
    assert not is_finished(packet(segment(b"data", partial(6, 24)), protocol=6))
    assert not is_finished(packet(datagram(b"data", partial(17, 12)), protocol=17))


def test_a_checksum_that_only_looks_unfinished_is_left_alone() -> None:
    """One in 65535 is both: the sum of the pseudo-header, and right."""
    wanted = partial(17, 10)
    for number in range(1 << 16):
        made = datagram(struct.pack("!H", number))
        if made[6:8] == struct.pack("!H", wanted):
            assert is_finished(packet(made))
            return
    raise AssertionError("no such payload")


@pytest.mark.parametrize(
    "inner",
    [
        packet(datagram(b"data", 0)),
        packet(datagram(b"data", partial(17, 12)), fragment=0x2000),
        packet(datagram(b"data", partial(17, 12)), fragment=100),
        packet(b"\x00", protocol=6),
        packet(bytes(40), protocol=1),
    ],
)
def test_a_packet_without_a_checksum_is_left_alone(inner: bytes) -> None:
    """UDP without a checksum, fragments, too short a packet, other protocols."""
    assert is_finished(inner)


def test_the_virtio_header_has_the_place_of_the_checksum() -> None:
    inner = bytearray(packet(datagram(b"data", partial(17, 12)), options=b"\x01" * 4))
    assert struct.unpack("=BBHHHH", packets.virtio_header(inner, 0, 1480)) == (1, 0, 0, 0, 24, 6)


@pytest.mark.parametrize(("flags", "kind"), [(0x10, 1), (0x90, 0x81)])
def test_merged_segments_are_cut_to_a_size_that_passes_everywhere(flags: int, kind: int) -> None:
    body = segment(bytes(5000), partial(6, 5020), flags)
    header = packets.virtio_header(bytearray(packet(body, protocol=6)), 0, 1480)
    assert struct.unpack("=BBHHHH", header) == (1, kind, 40, 1240, 20, 16)


def test_a_segment_that_fits_is_not_cut() -> None:
    body = segment(bytes(1400), partial(6, 1420))
    header = packets.virtio_header(bytearray(packet(body, protocol=6)), 0, 1480)
    assert struct.unpack("=BBHHHH", header) == (1, 0, 0, 0, 20, 16)


def test_the_sender_of_a_large_packet_gets_the_mtu() -> None:
    inner = packet(bytes(1400), fragment=0x4000)
    made = packets.too_big(inner, 1380)
    assert made is not None
    message = made[20:]
    assert made[9] == 1
    assert made[12:20] == bytes(4) + inner[12:16]
    assert message[:2] == b"\x03\x04"
    assert struct.unpack("!H", message[6:8]) == (1380,)
    assert message[8:] == inner[:548]
    assert checksum(message) == 0


@pytest.mark.parametrize(
    "inner",
    [
        packet(bytes(100)),
        packet(bytes(100), fragment=0x4001),
        packet(b"\x03\x01" + bytes(98), fragment=0x4000, protocol=1),
    ],
)
def test_no_error_is_sent_where_rfc_1122_forbids_it(inner: bytes) -> None:
    """A packet that allows fragments, a later fragment, an ICMP error."""
    assert packets.too_big(inner, 1280) is None


def test_an_echo_that_does_not_fit_is_answered() -> None:
    assert packets.too_big(packet(b"\x08\x00" + bytes(98), fragment=0x4000, protocol=1), 1280) is not None
