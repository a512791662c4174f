"""The invocation of the daemon, and of the commands that run in its place."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from routerd.process.directories import Directories

if TYPE_CHECKING:
    from routerd.plugins.check import Prepared


@attrs.frozen(kw_only=True)
class Command:
    """The file, directories and plugins that the command line names."""

    config: Path
    directories: Directories = Directories()
    plugins: Sequence[str] | None = None
    lenient: bool = False

    def prepare(self, *, partial: bool = False) -> Prepared:
        """Read and check the file and the plugins; raises `ConfigError`.

        With `partial` a plugin that cannot be used is left out.
        """
        from routerd.plugins.check import prepare  # noqa: PLC0415 - most commands only ask the daemon

        return prepare(self.config, plugins=self.plugins, lenient=self.lenient, partial=partial)
