"""How a guest's routing table is read and changed: commands of ip(8) from the guest's own iproute2. Pure."""

import re
from collections.abc import Iterator, Sequence
from urllib.parse import quote_plus

import attrs

from routerd.model.addresses import IPNetwork
from routerd.model.route import ROUTE_PROTOCOL

SHOW = ("ip", "-N", "-j", "-4", "route", "show")
SHOW_BY_NAME = ("ip", "-j", "-4", "route", "show")
"""The same for `ip` before 5.3, which does not know `-N` (numbers instead of names)."""

BATCH = ("ip", "-N", "-j", "-4", "-force", "-batch", "-")
BATCH_BY_NAME = ("ip", "-j", "-4", "-force", "-batch", "-")
"""With `-force` a line that fails stops no other line. `-N` and `-j` are for the last line, which reads."""

_READ_BACK = "route show"

_REQUEST_LIMIT = 48 * 1024
"""Bytes of form-encoded lines in one request; the API takes 64 KiB in all."""

_FAILED = re.compile(r"Command failed -:(\d+)")


@attrs.frozen
class Step:
    """Lines for `BATCH` about one prefix, and the gateway of its route after them.

    `ip route replace` would replace whatever route it meets. Instead the kernel refuses `del` unless the
    route is the one that was read, and refuses `add` while another one is there.
    """

    prefix: IPNetwork
    lines: tuple[str, ...]
    to: str | None


def step(prefix: IPNetwork, old: str | None, new: str | None, device: str | None) -> Step:
    """Return the lines that turn a route from one gateway to another; none stands for no route."""
    on = f" dev {device}" if device else ""
    lines = [f"route del {prefix} via {old} proto {ROUTE_PROTOCOL}"] if old else []
    lines += [f"route add {prefix} via {new}{on} proto {ROUTE_PROTOCOL}"] if new else []
    return Step(prefix, tuple(lines), new)


def too_old(said: str) -> bool:
    """Say whether `ip` refused `-N`."""
    return 'Option "-N" is unknown' in said


def portions(steps: Sequence[Step]) -> Iterator[list[Step]]:
    """Yield the steps in portions that fit into one request each."""
    portion: list[Step] = []
    size = 0
    for each in steps:
        length = sum(len(quote_plus(line + "\n")) for line in each.lines)
        if portion and size + length > _REQUEST_LIMIT:
            yield portion
            portion, size = [], 0
        portion.append(each)
        size += length
    if portion:
        yield portion


def script(portion: Sequence[Step]) -> str:
    """Return the input of `BATCH`; its last line reads the result back."""
    lines = [line for each in portion for line in each.lines]
    return "".join(f"{line}\n" for line in [*lines, _READ_BACK])


def complaints(portion: Sequence[Step], said: str) -> dict[IPNetwork, str]:
    """Return the words of `BATCH` about each prefix whose line failed."""
    about = [each.prefix for each in portion for _ in each.lines]
    found: dict[IPNetwork, str] = {}
    words = ""
    for line in said.splitlines():
        failed = _FAILED.search(line)
        if failed is None:
            words = words or line.strip()
            continue
        number = int(failed[1])
        if 0 < number <= len(about):
            found[about[number - 1]] = words or "ip refused it"
        words = ""
    return found
