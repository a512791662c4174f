"""The facts of a running daemon; its tasks keep them current and derivation reads them."""

from collections.abc import Mapping

import attrs

from routerd.model.claim import AdmittedClaim, Claim, Topology
from routerd.model.fabric import InstanceFacts
from routerd.model.names import PublicKey
from routerd.model.route import RouteSet


@attrs.define
class Knowledge:
    """Facts by source, learned routes by the protocol that learned them.

    `waiting` has the reason, in words, for each source without an answer.
    """

    claims: tuple[AdmittedClaim, ...] = ()
    own_claims: Mapping[str, Claim] = attrs.field(factory=dict)
    topologies: Mapping[str, Topology] = attrs.field(factory=dict)
    learned: dict[str, RouteSet] = attrs.field(factory=dict)
    instances: dict[str, InstanceFacts] = attrs.field(factory=dict)
    public_keys: dict[str, PublicKey] = attrs.field(factory=dict)
    waiting: dict[str, str] = attrs.field(factory=dict)
