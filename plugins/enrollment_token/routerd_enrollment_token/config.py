"""The options of the join method: it has none, because policy and client name the token."""

import attrs


@attrs.frozen(kw_only=True)
class TokenOptions:
    """No options. The secret is `joinTokenFrom` of the policy (reflector) or the client (leaf)."""
