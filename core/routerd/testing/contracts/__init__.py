"""Contract suites: pytest classes that a plugin's author subclasses and gives fixtures.

A suite states the rules that the core relies on. The family and the provider's declared capabilities
decide which rules apply. A missing fixture fails; it never skips a rule.

Added in 1.0.
"""

from routerd.testing.contracts.bgp import BgpContract
from routerd.testing.contracts.enrollment import EnrollmentContract
from routerd.testing.contracts.enrollment_ends import Ends
from routerd.testing.contracts.fabric import FabricContract
from routerd.testing.contracts.fabric_site import (
    DiagnosisRules,
    ForesightRules,
    Quota,
    QuotaRules,
    SharedFabricContract,
    SiteWorld,
)
from routerd.testing.contracts.plugin import PluginContract
from routerd.testing.contracts.provider import ProviderContract, ProviderTablesContract, running
from routerd.testing.contracts.routing import BgpRoutingContract, RoutingContract
from routerd.testing.contracts.samples import BgpPlace, Foreign, Neighbour, Samples, TableRules
from routerd.testing.contracts.single import TableContract
from routerd.testing.contracts.subsystem import SubsystemContract
from routerd.testing.contracts.table import assert_holds, fill
from routerd.testing.contracts.transport import EncryptingTransportContract, TransportContract

__all__ = [
    "BgpContract",
    "BgpPlace",
    "BgpRoutingContract",
    "DiagnosisRules",
    "EncryptingTransportContract",
    "Ends",
    "EnrollmentContract",
    "FabricContract",
    "Foreign",
    "ForesightRules",
    "Neighbour",
    "PluginContract",
    "ProviderContract",
    "ProviderTablesContract",
    "Quota",
    "QuotaRules",
    "RoutingContract",
    "Samples",
    "SharedFabricContract",
    "SiteWorld",
    "SubsystemContract",
    "TableContract",
    "TableRules",
    "TransportContract",
    "assert_holds",
    "fill",
    "running",
]
