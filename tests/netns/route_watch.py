"""Reads one route over and over until its input ends; for `inside_kernel_routes.py`.

Prints `reading` once it has read the route, and `missing` whenever a read does not find exactly that
prefix; at the end, how often it has read.
"""

from __future__ import annotations

import select
import socket
import struct
import sys
from ipaddress import IPv4Network

RTM_GETROUTE, RTM_NEWROUTE, RTM_F_FIB_MATCH = 26, 24, 0x2000


def say(word: object) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


def main() -> None:
    prefix = IPv4Network(sys.argv[1])
    destination = struct.pack("=HH4s", 8, 1, prefix.network_address.packed)
    body = struct.pack("=8BI", socket.AF_INET, 32, 0, 0, 0, 0, 0, 0, RTM_F_FIB_MATCH) + destination
    request = struct.pack("=IHHII", 16 + len(body), RTM_GETROUTE, 1, 1, 0) + body
    reads, announced = 0, False
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as sock:
        sock.bind((0, 0))
        while reads % 64 or not select.select([sys.stdin], [], [], 0)[0]:
            sock.send(request)
            answer = sock.recv(65536)
            (kind,) = struct.unpack_from("=H", answer, 4)
            there = kind == RTM_NEWROUTE and answer[17] == prefix.prefixlen
            reads += 1
            if not there:
                say("missing")
            elif not announced:
                announced = True
                say("reading")
    say(reads)


if __name__ == "__main__":
    main()
