"""The resource kind `FabricPolicy`: its fields as they are in the file. `reading` makes them a policy."""

from collections.abc import Mapping
from typing import Literal

import attrs

from routerd.model.resource import ResourceKind

Texts = str | tuple[str, ...]
"""One text, or a list of them."""


@attrs.frozen(kw_only=True)
class RuleSpec:
    """A rule: packets from one place to another, and what becomes of them."""

    name: str = ""
    source: Texts = attrs.field(default="any", metadata={"key": "from"})
    destination: Texts = attrs.field(default="any", metadata={"key": "to"})
    protocol: str = ""
    ports: Texts = ()
    action: Literal["accept", "drop", "reject"]


@attrs.frozen(kw_only=True)
class FabricPolicySpec:
    """The first rule that matches decides about the first packet of a flow, else `default` does."""

    sets: Mapping[str, tuple[str, ...]] = attrs.field(factory=dict)
    rules: tuple[RuleSpec, ...] = ()
    default: Literal["accept", "drop"]
    tests: tuple[str, ...] = ()


FABRIC_POLICY = ResourceKind(
    api_version="policy.routerd.net/v1alpha1",
    kind="FabricPolicy",
    spec=FabricPolicySpec,
    teardown="routerd removes the table `inet routerd_policy` of nftables with all of its rules and sets.",
)


def listed(texts: Texts) -> tuple[str, ...]:
    """Return one text, or a list of them, as a list."""
    return (texts,) if isinstance(texts, str) else texts
