"""A valid configuration file as a value. How it is read is in `loader`."""

from collections.abc import Iterator, Mapping
from typing import Literal, TypeVar, cast

import attrs
import yaml

from routerd.errors import Problem
from routerd.model.intent import Intent
from routerd.model.names import NodeName
from routerd.model.resource import Resource

S = TypeVar("S")


@attrs.frozen(kw_only=True)
class ReconcileSettings:
    """The settings of `spec.reconcile`."""

    mode: Literal["", "strict", "progressive"] = ""
    protected_interfaces: tuple[str, ...] = ()
    protected_zones: tuple[str, ...] = ()
    auto_tune_conntrack: bool | None = None

    def __attrs_post_init__(self) -> None:
        if not all(name.strip() for name in (*self.protected_interfaces, *self.protected_zones)):
            raise ValueError("a protected interface or zone has an empty name; remove it")


@attrs.frozen(kw_only=True)
class PluginSection:
    """A plugin that the file names; its options are still YAML."""

    name: str
    line: int
    node: yaml.Node | None = attrs.field(default=None, eq=False, repr=False)


@attrs.frozen(kw_only=True)
class Configuration:
    """A valid file. `options` holds the raw `spec.options` of resources that have them, by reference.

    `join_options` holds the raw `joinOptions` of policies and clients, likewise.
    """

    file: str
    node: NodeName
    plugins: tuple[PluginSection, ...] | None
    resources: tuple[Resource[object], ...]
    options: Mapping[str, yaml.Node] = attrs.field(factory=dict, eq=False, repr=False)
    join_options: Mapping[str, yaml.Node] = attrs.field(factory=dict, eq=False, repr=False)
    reconcile: ReconcileSettings = ReconcileSettings()
    warnings: tuple[Problem, ...] = ()

    def of(self, spec: type[S]) -> Iterator[Resource[S]]:
        """Yield the resources whose spec is of the type `spec`, in the order of the file."""
        for resource in self.resources:
            if isinstance(resource.spec, spec):
                yield cast("Resource[S]", resource)

    def get(self, ref: str) -> Resource[object] | None:
        """Return the resource `Kind/name`, or none."""
        return next((resource for resource in self.resources if resource.id.ref == ref), None)

    @property
    def intent(self) -> Intent:
        """Return the resources as the reconcile engine takes them."""
        return Intent(node=self.node, resources=self.resources)
