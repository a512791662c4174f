"""Access to the enrollment listener: allowed sources, bearer token, rates.

The order of the checks: source address (403), rate of the source (429), bearer token (401), rate
of all sources (429). A header never changes the source.
"""

import hmac
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

import attrs
from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

from routerd.control.answers import refusal
from routerd.control.enrollment_api import NO_TOKEN, STRANGER, TOO_OFTEN
from routerd.control.rate_limit import RateLimit
from routerd.control.shapes import TEXT_TYPE
from routerd.spi import Clock, Logger

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

CHALLENGE = {"WWW-Authenticate": 'Bearer realm="routerd-control-api"'}


@attrs.define(kw_only=True)
class AccessRules:
    """Which requests the listener accepts.

    `client_certificates` says that TLS has checked one already. The token may change while the
    listener is open; its presence may not.
    """

    allow: tuple[Network, ...] = attrs.field(on_setattr=attrs.setters.frozen)
    limit: RateLimit = attrs.field(on_setattr=attrs.setters.frozen)
    token: str | None = attrs.field(default=None, repr=False)
    client_certificates: bool = attrs.field(default=False, on_setattr=attrs.setters.frozen)

    def source_allowed(self, source: Address | None) -> bool:
        """Say whether a request may come from `source`."""
        return source is not None and any(
            source.version == network.version and source in network for network in self.allow
        )

    def token_holds(self, header: str) -> bool:
        """Say whether an `Authorization` header carries the token, in constant time."""
        if self.token is None:
            return True
        scheme, _, given = header.partition(" ")
        same = hmac.compare_digest(_octets(given.strip()), _octets(self.token))
        return same and scheme.lower() == "bearer"

    @property
    def authenticates(self) -> bool:
        """Say whether the listener identifies its clients."""
        return self.token is not None or self.client_certificates


def access_check(access: AccessRules, *, clock: Clock, log: Logger) -> Middleware:
    """Return the middleware that refuses requests; a source is logged once a minute."""
    limit = access.limit
    said = RateLimit(clock=clock, rate=1 / 60, burst=1, total_rate=1, total_burst=60)
    guesses = RateLimit(clock=clock, total_rate=20, total_burst=200)

    def say(event: str, source: Address) -> None:
        if not said.wait(source) and not said.wait_for_all():
            log.warning(event, source=str(source))

    def too_often(source: Address, seconds: int) -> web.Response:
        say("enrollment.source.limited", source)
        return refusal(
            TOO_OFTEN, f"too many requests; try again in {seconds} s", {"Retry-After": str(seconds)}
        )

    @web.middleware
    async def let_in(request: web.Request, handler: Handler) -> web.StreamResponse:
        source = source_of(request)
        if source is None or not access.source_allowed(source):
            if source is not None:
                say("enrollment.source.refused", source)
            return _turn_away(source)
        if seconds := limit.wait(source):
            return too_often(source, seconds)
        given = request.headers.getall(hdrs.AUTHORIZATION, ())
        if not access.token_holds(given[0] if len(given) == 1 else ""):
            # A rate of their own: guesses take nothing from clients that have the token.
            if seconds := guesses.wait_for_all():
                return too_often(source, seconds)
            say("enrollment.token.refused", source)
            return refusal(
                NO_TOKEN,
                "bearer token missing or wrong; set controlAPITokenFrom of SAMEnrollmentClient",
                CHALLENGE,
            )
        if seconds := limit.wait_for_all():
            return too_often(source, seconds)
        return await handler(request)

    return let_in


def source_of(request: web.Request) -> Address | None:
    """Return the address at the other end of the connection; none of a Unix socket."""
    peer = request.transport.get_extra_info("peername") if request.transport is not None else None
    return address_of(str(peer[0])) if isinstance(peer, tuple) and peer else None


@lru_cache(maxsize=4096)
def address_of(host: str) -> Address | None:
    """Return the address of a socket's peer; an IPv4-mapped address becomes IPv4.

    Each request asks three times, and parsing an address costs more than everything else here.
    """
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _turn_away(source: Address | None) -> web.Response:
    response = web.Response(
        status=STRANGER.status, text=f"{source} is not in allowCIDRs of ControlAPI\n", content_type=TEXT_TYPE
    )
    response.force_close()
    return response


def _octets(text: str) -> bytes:
    return text.encode(errors="surrogateescape")
