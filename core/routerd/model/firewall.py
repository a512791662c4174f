"""Openings in the host's packet filter, and the clamp of TCP's segment size."""

from typing import Literal

import attrs

from routerd.model.addresses import IPNetwork, order
from routerd.model.names import LinkName


@attrs.frozen(kw_only=True, order=True)
class Accept:
    """Accept packets that a foreign rule might drop.

    `protocol` is a name (`udp`, `tcp`) or an IP protocol number as text (`4`, `47`); `port` is
    the destination port. An empty field matches everything.
    """

    chain: Literal["input", "forward"]
    protocol: str = ""
    port: int = 0
    in_link: LinkName | None = None
    out_link: LinkName | None = None
    source: IPNetwork | None = attrs.field(default=None, order=order)


@attrs.frozen(kw_only=True, order=True)
class MssClamp:
    """Clamp the MSS of TCP connections forwarded through `link` to the path's MTU (RFC 4459)."""

    link: LinkName


FirewallKey = Accept | MssClamp


@attrs.frozen(kw_only=True)
class FirewallRule:
    """The value of a rule, whose content is all in its key; `owner` is the resource that wants it.

    A desired rule is `everywhere`. An observed rule is not, if a chain that needs it lacks it, because
    another program has reloaded its rule set.
    """

    everywhere: bool = True
    owner: str = attrs.field(default="", eq=False)
