"""Typed specs, one `attrs` class for each kind of resource.

Attributes are the fields of the file in snake case; a spelling that does not follow from the attribute
(`routerID`, `allowedCIDRs`) is in its metadata `key`.
"""

from routerd.model.specs.common import (
    CommunitiesSpec,
    PeerSource,
    PolicySpec,
    SecretSource,
    StatusValueSource,
    TimersSpec,
)
from routerd.model.specs.enrollment import (
    SAMEnrollmentClaimSpec,
    SAMEnrollmentClientSpec,
    SAMEnrollmentPolicySpec,
)
from routerd.model.specs.hybrid import (
    CloudProviderProfileSpec,
    ProviderActionPolicySpec,
    TunnelInterfaceSpec,
)
from routerd.model.specs.mobility import (
    MemberSpec,
    MobilityPoolSpec,
    NodeSpec,
    SAMNodeSetSpec,
    SAMPeerGroupSpec,
    SAMRRSetSpec,
    SAMTransportProfileSpec,
)
from routerd.model.specs.net import (
    BGPDynamicPeerSpec,
    BGPPeerSpec,
    BGPRouterSpec,
    InterfaceSpec,
    IPv4RouteSpec,
    IPv4StaticAddressSpec,
    IPv4StaticRouteSpec,
    WireGuardInterfaceSpec,
    WireGuardPeerSpec,
)
from routerd.model.specs.system import ControlAPISpec, SysctlProfileSpec, SysctlSpec

__all__ = [
    "BGPDynamicPeerSpec",
    "BGPPeerSpec",
    "BGPRouterSpec",
    "CloudProviderProfileSpec",
    "CommunitiesSpec",
    "ControlAPISpec",
    "IPv4RouteSpec",
    "IPv4StaticAddressSpec",
    "IPv4StaticRouteSpec",
    "InterfaceSpec",
    "MemberSpec",
    "MobilityPoolSpec",
    "NodeSpec",
    "PeerSource",
    "PolicySpec",
    "ProviderActionPolicySpec",
    "SAMEnrollmentClaimSpec",
    "SAMEnrollmentClientSpec",
    "SAMEnrollmentPolicySpec",
    "SAMNodeSetSpec",
    "SAMPeerGroupSpec",
    "SAMRRSetSpec",
    "SAMTransportProfileSpec",
    "SecretSource",
    "StatusValueSource",
    "SysctlProfileSpec",
    "SysctlSpec",
    "TimersSpec",
    "TunnelInterfaceSpec",
    "WireGuardInterfaceSpec",
    "WireGuardPeerSpec",
]
