"""The contract between core and plugins: the protocols of providers, and their context.

`hookspecs.py` has the hooks. This module re-exports every public name, so that a plugin needs one import
line; only the judgement of `site_routes` is imported from the module that has its table.

Added in 1.0.
"""

from routerd.spi.clock import Clock
from routerd.spi.context import Logger, PluginContext, Spawn
from routerd.spi.control import ControlRoute, JSONValue
from routerd.spi.enrollment import Enrollment, PayloadEnrollment
from routerd.spi.fabric import DiagnosingFabric, Fabric, SharedFabric
from routerd.spi.kernel import ALIAS_PREFIX, Kernel, Link, LinkSpec
from routerd.spi.pace import Pacer, Pacing
from routerd.spi.provider import (
    API_VERSION,
    ENTRY_POINT_GROUP,
    Capability,
    Lifecycle,
    NoOptions,
    PluginInfo,
    Provider,
)
from routerd.spi.routing import Routing
from routerd.spi.switch_table import Switches, SwitchTable
from routerd.spi.table import AgreeingTable, ForeseeingTable, Table, apply_each
from routerd.spi.transport import EncryptingTransport, Transport

__all__ = [
    "ALIAS_PREFIX",
    "API_VERSION",
    "ENTRY_POINT_GROUP",
    "AgreeingTable",
    "Capability",
    "Clock",
    "ControlRoute",
    "DiagnosingFabric",
    "EncryptingTransport",
    "Enrollment",
    "Fabric",
    "ForeseeingTable",
    "JSONValue",
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
    "Provider",
    "Routing",
    "SharedFabric",
    "Spawn",
    "SwitchTable",
    "Switches",
    "Table",
    "Transport",
    "apply_each",
]
