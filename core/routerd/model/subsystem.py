"""What a subsystem is told about the fabric, what it derives from that, and what it reports."""

from collections.abc import Mapping

import attrs

from routerd.model.addresses import IPAddress, IPNetwork
from routerd.model.change import DesiredTable
from routerd.model.claim import Claim
from routerd.model.intent import Intent
from routerd.model.names import LinkName
from routerd.model.resource import Condition
from routerd.model.route import LearnedRoute


@attrs.frozen(kw_only=True)
class FabricLink:
    """A tunnel of this router that carries traffic of the fabric.

    `local` and `neighbour` are the addresses inside of the tunnel, none for a tunnel that the file names by
    itself. `leaf` is the leaf ID at the far end, `peer` the name of a reflector or of a node there.
    """

    link: LinkName
    local: IPAddress | None = None
    neighbour: IPAddress | None = None
    leaf: str = ""
    peer: str = ""


@attrs.frozen(kw_only=True)
class FabricFacts:
    """What this router knows of the fabric at one moment.

    `intent` has every resource of the file. `leaves` are the claims that this router admitted and that
    hold now, by leaf ID; `own` are the claims by which it joins as a leaf. `routes` are the best paths
    that passed the import policy of the core. While not `complete`, a source has not answered yet, and
    something may be missing here.
    """

    intent: Intent
    leaves: tuple[Claim, ...] = ()
    own: tuple[Claim, ...] = ()
    links: tuple[FabricLink, ...] = ()
    routes: tuple[LearnedRoute, ...] = ()
    complete: bool = True


@attrs.frozen(kw_only=True)
class Derivation:
    """What a subsystem wants: the content of each of its tables by the table's name.

    A table that is absent should be empty. `conditions` are notes and troubles by resource (`Kind/name`):
    one whose status is not `True` keeps the router from being ready.
    """

    tables: Mapping[str, DesiredTable] = attrs.field(factory=dict)
    conditions: Mapping[str, tuple[Condition, ...]] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class Flow:
    """Packets from one place to another; an empty `protocol` and a `port` of 0 stand for every one.

    `protocol` is a name (`tcp`, `udp`, `icmp`) or a number as text, `port` the destination port.
    """

    source: IPNetwork
    destination: IPNetwork
    protocol: str = ""
    port: int = 0

    def __str__(self) -> str:
        by = f" by {self.protocol}" if self.protocol else ""
        return (
            f"{_place(self.source)} to {_place(self.destination)}{by}{f'/{self.port}' if self.port else ''}"
        )


def _place(network: IPNetwork) -> str:
    return str(network.network_address if network.prefixlen == network.max_prefixlen else network)


@attrs.frozen(kw_only=True)
class SubsystemState:
    """One line of a subsystem in the status: its name, its state in words, and its counters.

    The names of counters are words of lower-case letters and underscores; their values only grow.
    """

    name: str
    text: str = ""
    counters: Mapping[str, int] = attrs.field(factory=dict)
