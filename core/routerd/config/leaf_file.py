"""The file of a new leaf as text: resources in plain YAML, a comment above each group of them.

`leaf-config` makes the resources; whether the file is right is for the loader to say.
"""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import yaml

from routerd.config.kinds import BUILTIN
from routerd.config.render import to_document
from routerd.model.resource import Resource, ResourceId
from routerd.model.specs import SAMEnrollmentClaimSpec

_VERSIONS = {kind.spec: (kind.api_version, kind.kind) for kind in BUILTIN}
_WIDTH = 92


@attrs.frozen(kw_only=True)
class Part:
    """Resources by name under one comment."""

    comment: str
    specs: Mapping[str, object]


def render(about: str, leaf: str, plugins: Sequence[str], parts: Sequence[Part]) -> str:
    """Return the file of a leaf that loads `plugins`."""
    head = {
        "apiVersion": "routerd.net/v1alpha1",
        "kind": "Router",
        "metadata": {"name": leaf},
        "plugins": list(plugins),
    }
    text = _comment(about) + _yaml(head) + "spec:\n  resources:\n"
    for part in parts:
        resources = [_document(name, spec) for name, spec in part.specs.items()]
        text += textwrap.indent(_comment(part.comment) + _yaml(resources), "    ")
    return text


def _document(name: str, spec: object) -> dict[str, Any]:  # Any: JSON
    identity = ResourceId(*_VERSIONS[type(spec)], name)
    document = to_document(Resource(id=identity, spec=spec))
    if isinstance(spec, SAMEnrollmentClaimSpec) and spec.join_hmac:
        # `routerd get` masks it; the leaf's own file needs it.
        document["spec"]["joinHMAC"] = spec.join_hmac
    return document


def _yaml(content: object) -> str:
    # Lists and mappings without others inside are one line each.
    text: str = yaml.safe_dump(
        content, sort_keys=False, default_flow_style=None, allow_unicode=True, width=10_000
    )
    return text


def _comment(text: str) -> str:
    return "".join(f"# {line}\n" for line in textwrap.wrap(text, _WIDTH, break_on_hyphens=False))
