"""A decision on a claim, for the log of decisions."""

from datetime import datetime
from typing import Literal

import attrs

Decision = Literal["admitted", "renewed", "pending", "approved", "rejected", "revoked", "refused"]


@attrs.frozen(kw_only=True)
class AuditEntry:
    """One decision on a claim; `count` folds equal decisions within a short time.

    `number` is 0 until the store has the entry. `source` is an address, or empty for the admin socket.
    """

    at: datetime
    decision: Decision
    claim: str
    leaf_id: str = ""
    policy: str = ""
    source: str = ""
    reason: str = ""
    message: str = ""
    count: int = 1
    number: int = 0
