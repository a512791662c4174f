"""What a provider is given when it is created, and the secrets it may ask for."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Protocol

import attrs

from routerd.spi.clock import Clock
from routerd.spi.kernel import Kernel
from routerd.spi.pace import Pacing


class Logger(Protocol):
    """A structured log: a constant event name, facts as keys; secrets never."""

    def debug(self, event: str, /, **facts: object) -> None:
        """Log what only a developer wants to see."""
        ...

    def info(self, event: str, /, **facts: object) -> None:
        """Log a change that an operator wants to find later."""
        ...

    def warning(self, event: str, /, **facts: object) -> None:
        """Log something that works but should be looked at."""
        ...

    def error(self, event: str, /, **facts: object) -> None:
        """Log something that does not work."""
        ...


class Spawn(Protocol):
    """Starts a supervised task that ends with the provider."""

    def __call__(self, name: str, work: Coroutine[Any, Any, None]) -> None:  # Any: send type unused
        """Run `work`; when it raises, the failure is logged, and shown in the status."""
        ...


@attrs.frozen(kw_only=True)
class PluginContext:
    """The world as one provider may see it. Nothing here is shared with another plugin.

    `state_dir` is the plugin's own directory (mode 0700) and exists; `run_dir` the same for
    sockets, whose paths must stay below 100 bytes. `wake` asks the loop to look at the world
    soon; it never blocks and may be called often. `read_only` is true in a dry run: a provider
    then observes and never changes anything, not even by starting a helper process. `pacing` gives
    the token bucket of an account whose API allows only so many calls.
    """

    plugin: str
    node: str
    log: Logger
    clock: Clock
    kernel: Kernel
    state_dir: Path
    run_dir: Path
    wake: Callable[[], None]
    spawn: Spawn
    pacing: Pacing
    read_only: bool = False
