"""A resource of the configuration: its identity, its place in the file, its typed spec, its conditions."""

from collections.abc import Mapping
from typing import Generic, Literal, TypeVar

import attrs

from routerd.errors import Problem

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
    """The place of a resource in its file; `line` counts from 1, 0 means that there is no line.

    `lines` gives the line of each field by its dotted path, for errors of later checks.
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
    """One resource; its spec has the type of its kind."""

    id: ResourceId
    spec: S
    annotations: Mapping[str, str] = attrs.field(factory=dict)
    source: SourceLocation = attrs.field(default=SourceLocation("-"), eq=False)

    @property
    def name(self) -> str:
        """Return `metadata.name`."""
        return self.id.name

    def problem(self, path: str, message: str, hint: str = "", *, severity: str = "error") -> Problem:
        """Return a problem of the field `path`, or of the whole resource, with file and line."""
        return Problem(
            file=self.source.file,
            line=self.source.line_of(path),
            resource=self.id.ref,
            path=path,
            message=message,
            hint=hint,
            severity=severity,
        )

    def placed(self, problem: Problem) -> Problem:
        """Return a problem of ours with a line, also when the file has nothing of its field."""
        return problem if problem.line > 1 else attrs.evolve(problem, line=self.source.line_of(problem.path))


@attrs.frozen(kw_only=True)
class ResourceKind:
    """A kind of resource: its name, the type of its spec, and its teardown.

    `spec` is an `attrs` class whose attributes are the fields of the file in snake case. `teardown`
    says in one sentence what routerd removes with a resource of this kind; the core refuses a kind
    without that sentence. `runtime_only` kinds must not be in a file.
    """

    api_version: str
    kind: str
    spec: type[object]
    teardown: str
    runtime_only: bool = False


Status = Literal["True", "False", "Unknown"]


@attrs.frozen(kw_only=True)
class Condition:
    """One statement about a resource; `reason` is a stable CamelCase code, `message` is for people.

    A condition whose status is not `True` makes the router not ready. A condition of the type `Note`
    asks for no action.
    """

    type: str
    status: Status
    reason: str = ""
    message: str = ""
