"""UDP in many flows at once, and what of it was not answered; for `inside_two_reflectors.py`.

`udp_flows.py serve ADDRESS` answers. `udp_flows.py send SOURCE TARGET FLOWS INTERVAL` sends one packet in
each flow every INTERVAL seconds until its input ends. Each octet of its input asks for a line of JSON:
`unanswered` are the times at which packets left that had no answer yet, `answered` is how many had one, and
`newest` when the newest of these left. Times are of CLOCK_MONOTONIC, which all processes share.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import struct
import sys
import time

PORT = 7007
_NUMBER = struct.Struct("!Q")


def serve(address: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((address, PORT))
        while True:
            data, sender = sock.recvfrom(64)
            with contextlib.suppress(OSError):  # no way back just now: the sender notices
                sock.sendto(data, sender)


def send(source: str, target: str, flows: int, interval: float) -> None:
    socks = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) for _ in range(flows)]
    for sock in socks:
        sock.bind((source, 0))
        sock.connect((target, PORT))
    waiting: dict[int, float] = {}
    sent, answered, newest, due = 0, 0, 0.0, time.monotonic()
    while True:
        ready, _, _ = select.select([0, *socks], [], [], max(0.0, due - time.monotonic()))
        for sock in ready:
            if sock == 0:
                continue
            with contextlib.suppress(OSError):  # an ICMP error of an earlier packet, which stays unanswered
                left = waiting.pop(_NUMBER.unpack(sock.recv(64))[0], None)
                if left is not None:
                    answered, newest = answered + 1, max(newest, left)
        if 0 in ready:
            if not os.read(0, 1):
                return
            report = {"answered": answered, "newest": newest, "unanswered": list(waiting.values())}
            sys.stdout.write(json.dumps(report) + "\n")
            sys.stdout.flush()
        if time.monotonic() < due:
            continue
        due += interval
        for sock in socks:
            sent += 1
            waiting[sent] = time.monotonic()
            with contextlib.suppress(OSError):  # as above, or no route: the same to who waits for an answer
                sock.send(_NUMBER.pack(sent))


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2])
    else:
        send(sys.argv[2], sys.argv[3], int(sys.argv[4]), float(sys.argv[5]))
