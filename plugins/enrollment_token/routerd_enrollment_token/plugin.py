"""The plugin's hooks: it offers the join method `token`."""

from collections.abc import Sequence

from routerd import hookimpl
from routerd.spi import Capability, JoinMethod, PluginInfo
from routerd_enrollment_token.config import TokenOptions
from routerd_enrollment_token.enrollment import TokenEnrollment


@hookimpl
def routerd_plugin_info() -> PluginInfo:
    """Return the plugin's identity."""
    return PluginInfo(
        name="enrollment_token",
        api=(1, 0),
        summary="join by a shared token (HMAC-SHA256)",
        config=TokenOptions,
    )


@hookimpl
def routerd_enrollments() -> Sequence[JoinMethod]:
    """Describe the join method `token`."""
    return [
        JoinMethod(
            kind="token",
            options=TokenOptions,
            create=lambda *_: TokenEnrollment(),
            capabilities=frozenset({Capability.SHOWS_PAYLOAD}),
            binds_claim=True,
            shared_secret=True,
            sam_proof=True,
        )
    ]
