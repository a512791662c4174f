"""The operator's intent: the resources of one configuration, with look-ups by type and name."""

from collections.abc import Iterator, Sequence
from typing import Generic, TypeVar

import attrs

from routerd.model.names import NodeName, Ref
from routerd.model.resource import Resource

S = TypeVar("S")


@attrs.frozen(kw_only=True)
class Named(Generic[S]):
    """A resource's name, reference and typed spec."""

    name: str
    ref: str
    spec: S


@attrs.frozen(kw_only=True)
class Intent:
    """The resources of a validated configuration."""

    node: NodeName
    resources: Sequence[Resource[object]] = ()

    def of(self, spec: type[S]) -> Iterator[Named[S]]:
        """Yield the resources whose spec is of the type `spec`, in the order of the file."""
        for resource in self.resources:
            if isinstance(resource.spec, spec):
                yield Named(name=resource.name, ref=resource.id.ref, spec=resource.spec)

    def get(self, ref: str, spec: type[S]) -> Named[S] | None:
        """Return the resource `Kind/name` (or its bare name), or none."""
        name = Ref.parse(ref).name
        return next((found for found in self.of(spec) if found.name == name), None)

    def first(self, spec: type[S]) -> Named[S] | None:
        """Return the first resource of a kind that occurs at most once, or none."""
        return next(self.of(spec), None)
