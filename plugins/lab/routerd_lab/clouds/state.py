"""The common values of the emulated clouds: their machines, and errors.

An emulator is a region or subscription with `app()` (the API), `metadata(name)`, `forwarding(name)`
and `routes()`; the fabric enforces what the last two say.
"""

from ipaddress import IPv4Address

import attrs


@attrs.frozen(kw_only=True)
class Machine:
    """A machine of a cloud network, with one NIC."""

    name: str
    address: IPv4Address
    public: IPv4Address | None = None


@attrs.frozen(kw_only=True)
class Failure:
    """The answer of an operation that does not do its work; `retry_after` is in seconds."""

    status: int
    code: str
    message: str = "told to fail"
    retry_after: int | None = None
