"""A resource of the configuration: its identity, where it was written, and its typed spec."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Generic, TypeVar

import attrs

S = TypeVar("S", covariant=True)

API_SUFFIX = ".routerd.net/v1alpha1"


@attrs.frozen(order=True)
class ResourceId:
    """Identity of a resource; unique in one configuration."""

    api_version: str
    kind: str
    name: str

    @property
    def ref(self) -> str:
        """Return the short form `Kind/name` by which resources refer to each other."""
        return f"{self.kind}/{self.name}"

    def __str__(self) -> str:
        return f"{self.api_version}/{self.kind}/{self.name}"


@attrs.frozen
class SourceLocation:
    """Where a resource was read; `line` counts from 1, 0 means that there is no line.

    `lines` gives the line of each field by its dotted path, for errors found after reading.
    """

    file: str
    line: int = 0
    lines: Mapping[str, int] = attrs.field(factory=dict, eq=False, repr=False)

    def line_of(self, path: str) -> int:
        """Return the line of the field `path`, or of its nearest enclosing field."""
        while path:
            if path in self.lines:
                return self.lines[path]
            path = path.rpartition(".")[0]
        return self.line


@attrs.frozen(kw_only=True)
class Resource(Generic[S]):
    """One resource with its spec already converted to the kind's own type."""

    id: ResourceId
    spec: S
    annotations: Mapping[str, str] = attrs.field(factory=dict)
    source: SourceLocation = attrs.field(default=SourceLocation("-"), eq=False)

    @property
    def name(self) -> str:
        """Return `metadata.name`."""
        return self.id.name


@attrs.frozen(kw_only=True)
class ResourceKind:
    """What a kind of resource is called, what its spec looks like, and how it ends.

    `spec` is an `attrs` class whose attributes are the fields of the file in snake case.
    `teardown` says in one sentence what is removed when a resource of this kind goes away; a
    kind without that sentence is refused. `runtime_only` kinds must not be in a file.
    """

    api_version: str
    kind: str
    spec: type[object]
    teardown: str
    runtime_only: bool = False
