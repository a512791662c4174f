"""Options of the plugin."""

from datetime import timedelta

import attrs


@attrs.frozen(kw_only=True)
class BgpOptions:
    """Settings below `plugins.bgp_ryu`.

    `child_grace` is how long the speaker goes on without a daemon (a restart, an upgrade) before
    it closes its sessions. `stale_time` is how long routes are kept whose session was lost, and how
    long after the start of a speaker its routes may stay incomplete. `log_level` is that of the
    speaker's own log.
    """

    child_grace: timedelta = timedelta(seconds=120)
    stale_time: timedelta = timedelta(seconds=120)
    log_level: str = "warning"
