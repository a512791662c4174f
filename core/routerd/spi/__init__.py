"""The contract between core and plugins: the protocols of providers, and their context.

`hookspecs.py` has the hooks. This module re-exports every public name, so that a plugin needs one import
line; only the judgement of `site_routes` is imported from the module that has its table.

Added in 1.0.
"""

from routerd.model.json_value import JSONValue
from routerd.spi.clock import Clock
from routerd.spi.cloud.switch_table import Switches, SwitchTable
from routerd.spi.context import Logger, Pacer, Pacing, PluginContext, Spawn
from routerd.spi.control import ControlRoute
from routerd.spi.enrollment import (
    MAX_PROOF,
    Enrollment,
    JoinEnd,
    JoinMethod,
    JoinTrial,
    PayloadEnrollment,
    Proof,
    Signing,
    Submission,
)
from routerd.spi.fabric import DiagnosingFabric, Fabric, SharedFabric
from routerd.spi.helper import Helper
from routerd.spi.kernel import ALIAS_PREFIX, Kernel, Link, LinkSpec
from routerd.spi.provider import (
    API_VERSION,
    ENTRY_POINT_GROUP,
    Capability,
    Lifecycle,
    NoOptions,
    PluginInfo,
    Provider,
)
from routerd.spi.routing import BgpRouting, Routing
from routerd.spi.subsystem import Rank, Resources, Subsystem, SubsystemTable, SubsystemType
from routerd.spi.table import AgreeingTable, ForeseeingTable, Table, apply_each, only_ipv4
from routerd.spi.transport import EncryptingTransport, Takes, Transport, TransportMode, check_ipv4

__all__ = [
    "ALIAS_PREFIX",
    "API_VERSION",
    "ENTRY_POINT_GROUP",
    "MAX_PROOF",
    "AgreeingTable",
    "BgpRouting",
    "Capability",
    "Clock",
    "ControlRoute",
    "DiagnosingFabric",
    "EncryptingTransport",
    "Enrollment",
    "Fabric",
    "ForeseeingTable",
    "Helper",
    "JSONValue",
    "JoinEnd",
    "JoinMethod",
    "JoinTrial",
    "Kernel",
    "Lifecycle",
    "Link",
    "LinkSpec",
    "Logger",
    "NoOptions",
    "Pacer",
    "Pacing",
    "PayloadEnrollment",
    "PluginContext",
    "PluginInfo",
    "Proof",
    "Provider",
    "Rank",
    "Resources",
    "Routing",
    "SharedFabric",
    "Signing",
    "Spawn",
    "Submission",
    "Subsystem",
    "SubsystemTable",
    "SubsystemType",
    "SwitchTable",
    "Switches",
    "Table",
    "Takes",
    "Transport",
    "TransportMode",
    "apply_each",
    "check_ipv4",
    "only_ipv4",
]
