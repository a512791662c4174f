"""What the core relies on in a routing protocol that speaks BGP, as its neighbours see it."""

from __future__ import annotations

from routerd.testing.contracts.bgp.communities import BgpCommunityRules
from routerd.testing.contracts.bgp.placement import BgpPlacementRules
from routerd.testing.contracts.bgp.reflection import BgpReflectionRules
from routerd.testing.contracts.bgp.routes import BgpRouteRules
from routerd.testing.contracts.bgp.session import BgpSessionRules


class BgpContract(BgpSessionRules, BgpReflectionRules, BgpRouteRules, BgpCommunityRules, BgpPlacementRules):
    """The suite of a BGP speaker, beside `BgpRoutingContract`: peers that the suite scripts talk to it.

    An author overrides the fixtures `provider`, `context`, `place`, and `options` unless the
    defaults will do. What the provider leaves running, the author's fixtures end. Peers dial the
    speaker's address and port from theirs; when the speaker dials, they answer on the same port.

    Added in 1.0.
    """
