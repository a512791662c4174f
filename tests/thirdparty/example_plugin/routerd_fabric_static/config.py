"""The options of the fabric: `spec.options` of a `CloudProviderProfile`, there in camel case."""

from __future__ import annotations

import attrs


@attrs.frozen(kw_only=True)
class StaticOptions:
    """`file` holds NICs and route tables, `next_hop` is the NIC that is ours."""

    file: str
    next_hop: str
