"""The peers of a transport profile: which routers, and where the tunnel to each of them ends."""

from ipaddress import IPv4Address

import attrs

from routerd.model.addresses import IPAddress
from routerd.model.intent import Named
from routerd.model.specs import SAMTransportProfileSpec
from routerd.model.specs.leaves import Member, members, self_node
from routerd.reconcile.derive.inputs import Inputs


@attrs.frozen(kw_only=True)
class Peer:
    """A member of a source, with the outer address of the tunnel to it."""

    member: Member
    endpoint: IPAddress

    @property
    def node(self) -> str:
        """Return its name."""
        return self.member.node


def peers_of(inputs: Inputs, profile: Named[SAMTransportProfileSpec]) -> tuple[list[Peer], list[str]]:
    """Return the peers of a profile, the first source winning, and the required sources that are missing."""
    found: dict[str, Peer] = {}
    missing: list[str] = []
    own = self_node(inputs.intent, profile.spec)
    for source in profile.spec.peers_from:
        given = members(source, inputs)
        if given is None:
            if not source.optional:
                missing.append(source.resource)
            continue
        for member in given:
            endpoint = _endpoint(member, encrypted=profile.spec.encrypted)
            if member.node != own and endpoint is not None:
                found.setdefault(member.node, Peer(member=member, endpoint=endpoint))
    return list(found.values()), missing


def _endpoint(member: Member, *, encrypted: bool) -> IPAddress | None:
    """Return the outer address of the tunnel to a router; inside of WireGuard it is the inner one."""
    if member.claim is not None:
        return member.claim.endpoint_host
    if (reflector := member.reflector) is not None:
        clear = reflector.endpoint or reflector.transport_address
        return reflector.transport_address if encrypted else clear
    if (node := member.listed) is None:
        return None
    if encrypted:
        return node.wire_guard.transport_endpoint if node.wire_guard else None
    return IPv4Address(node.sam_endpoint.partition("/")[0].strip()) if node.sam_endpoint else None
