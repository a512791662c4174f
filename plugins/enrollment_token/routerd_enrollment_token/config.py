"""Options of the join method; there are none: the token stands in the policy and in the client."""

from __future__ import annotations

import attrs


@attrs.frozen(kw_only=True)
class TokenOptions:
    """No options. The secret is `joinTokenFrom` of the policy (reflector) or the client (leaf)."""
