"""The errors of routes in words: impossible routes, foreign routes, and the kernel's refusals. Pure."""

import errno
import os

from routerd.errors import NotOwnedError, PermanentError, ProviderError, TransientError, UnsupportedError
from routerd.kernel.routes.socket import Refusal
from routerd.model.change import Verb
from routerd.model.route import MAX_NEXT_HOPS, NextHop, Route, RouteKey

UNREACHABLE = frozenset({errno.ENETUNREACH, errno.EHOSTUNREACH})
GONE = frozenset({errno.ESRCH, errno.ENOENT, errno.ENODEV})
_LATER = frozenset({errno.ENETDOWN, errno.ENOBUFS, errno.ENOMEM, errno.EAGAIN, errno.EBUSY, errno.EINTR,
                    errno.EEXIST, *UNREACHABLE, *GONE})  # fmt: skip


class NextHopError(TransientError):
    """The kernel refused a route for one of its next hops."""


def fault(route: Route) -> str | None:
    """Return the fault that makes a route impossible, or none."""
    if route.kind == "blackhole":
        return "a blackhole has no next hop" if route.next_hops else None
    if not 0 < len(route.next_hops) <= MAX_NEXT_HOPS:
        return f"it has {len(route.next_hops)} next hops; the kernel takes 1 to {MAX_NEXT_HOPS}"
    if any(hop.gateway is None and hop.link is None for hop in route.next_hops):
        return "a next hop needs a gateway or a link"
    return None


def hop_name(hop: NextHop) -> str:
    """Return a next hop in words."""
    return f"next hop {hop.gateway}" if hop.gateway is not None else f"link {hop.link}"


def route_name(key: RouteKey) -> str:
    """Return a route in words."""
    return f"route {key.prefix}"


def foreign(key: RouteKey, protocol: int) -> NotOwnedError:
    """Return the error for a foreign route in the way."""
    return NotOwnedError(
        f"{route_name(key)} metric {key.metric}: it exists with protocol {protocol} and is not ours; "
        "delete it or choose another metric"
    )


def refusal_error(refusal: Refusal, verb: Verb) -> ProviderError:
    """Return the error for a refusal of the kernel."""
    name = route_name(refusal.change.key)
    hops = refusal.change.after.next_hops if refusal.change.after is not None else ()
    code = refusal.code
    if code in UNREACHABLE:
        gateways = ", ".join(str(hop.gateway) for hop in hops if hop.gateway is not None)
        noun = "next hop" if len(hops) == 1 else "one of the next hops"
        return NextHopError(f"{name}: {noun} {gateways} is not reachable")
    if code in {errno.ENODEV, errno.ENETDOWN} and hops:
        links = ", ".join(str(hop.link) for hop in hops if hop.link is not None)
        return NextHopError(
            f"{name}: link {links} {'is down' if code == errno.ENETDOWN else 'does not exist'}"
        )
    words = refusal.text or os.strerror(code).lower()
    text = f"{name}: the kernel refused to {verb} it: {words} ({errno.errorcode.get(code, code)})"
    if code in _LATER:
        return TransientError(text)
    if code == errno.EOPNOTSUPP:
        return UnsupportedError(text)
    if code == errno.EPERM:
        return PermanentError(f"{text}; give routerd CAP_NET_ADMIN")
    return PermanentError(text)
