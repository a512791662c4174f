"""The plugin `enrollment_token` as `renamed_token`."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from renamed_parts import NAMES
from routerd import hookimpl
from routerd.spi import JoinMethod, PluginInfo
from routerd_enrollment_token import plugin as original


@hookimpl
def routerd_plugin_info() -> PluginInfo:
    """Return the other name."""
    return attrs.evolve(original.routerd_plugin_info(), name="renamed_token")


@hookimpl
def routerd_enrollments() -> Sequence[JoinMethod]:
    """Return the join method under another name."""
    return [attrs.evolve(each, kind=NAMES[each.kind]) for each in original.routerd_enrollments()]
