"""What stands in which file: the kind of resource, and the pure functions over it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import attrs

from routerd.errors import Problem
from routerd.model.addresses import IPAddress
from routerd.model.change import DesiredTable
from routerd.model.claim import Claim
from routerd.model.report.explanation import Step
from routerd.model.resource import ResourceKind
from routerd.model.subsystem import Derivation, FabricFacts, Flow
from routerd.spi import Resources

_LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)")


@attrs.frozen(kw_only=True)
class HostsFileSpec:
    """A file of hosts; `domain` follows the ID of each leaf, `names` are further names in it."""

    file: Path
    domain: str
    names: Mapping[str, IPAddress] = attrs.field(factory=dict)

    def __attrs_post_init__(self) -> None:
        if not self.file.is_absolute():
            raise ValueError(f"file {self.file} is not an absolute path; write one such as /run/fabric/hosts")


KIND = ResourceKind(
    api_version="names.example.net/v1", kind="HostsFile", spec=HostsFileSpec, teardown="our lines of the file"
)


@attrs.frozen(order=True)
class Line:
    """The place of a line: its file and its name."""

    file: Path
    name: str

    def __str__(self) -> str:
        return f"{self.file} {self.name}"


Addresses = tuple[str, ...]
"""The addresses of a name, sorted, as text."""


def derive(resources: Resources, facts: FabricFacts) -> Derivation:
    """Return the lines of each file."""
    values: dict[Line, Addresses] = {}
    owners: dict[Line, str] = {}
    for resource in resources:
        spec: HostsFileSpec = resource.spec
        of_leaves = {_label(claim): _hosts(claim) for claim in (*facts.leaves, *facts.own)}
        given = {name: (str(address),) for name, address in spec.names.items()}
        for name, addresses in {**of_leaves, **given}.items():
            if addresses:
                line = Line(spec.file, f"{name}.{spec.domain}")
                values[line], owners[line] = addresses, resource.id.ref
    complete = facts.complete or not resources
    return Derivation(tables={"lines": DesiredTable(values=values, owners=owners, complete=complete)})


def check(resources: Resources, facts: FabricFacts | None) -> Iterable[Problem]:
    """Yield what is wrong: two resources for one file, and names that are none."""
    seen: dict[Path, str] = {}
    for resource in resources:
        spec: HostsFileSpec = resource.spec
        other = seen.setdefault(spec.file, resource.id.ref)
        if other != resource.id.ref:
            yield resource.problem("spec.file", f"{spec.file} is that of {other} too", "name another file")
        if not all(_LABEL.fullmatch(label) for label in spec.domain.split(".")):
            hint = "write one such as fabric.example.net"
            yield resource.problem("spec.domain", f'"{spec.domain}" is not the name of a domain', hint)
        for name in spec.names:
            if not _LABEL.fullmatch(name):
                hint = "use small letters, digits and dashes"
                yield resource.problem(f"spec.names.{name}", f'"{name}" is not a name', hint)


def explain(flow: Flow, resources: Resources, facts: FabricFacts) -> list[Step]:
    """Say by which names the destination of a flow is known here."""
    address = str(flow.destination.network_address)
    wanted = derive(resources, facts).tables["lines"].values
    names = sorted(line.name for line, addresses in wanted.items() if address in addresses)
    return [Step("names", "note", f"{address} is {', '.join(names)}")] if names else []


def _label(claim: Claim) -> str:
    return claim.leaf_id.lower().replace(".", "-")


def _hosts(claim: Claim) -> Addresses:
    return tuple(sorted(_of_hosts(claim)))


def _of_hosts(claim: Claim) -> Iterator[str]:
    for network in claim.owned:
        if network.prefixlen == network.max_prefixlen:
            yield str(network.network_address)
