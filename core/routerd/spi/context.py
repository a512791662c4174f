"""What the core gives a provider when it creates it."""

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Protocol

import attrs

from routerd.errors import PermanentError
from routerd.spi.clock import Clock
from routerd.spi.kernel import Kernel


class Logger(Protocol):
    """A structured log: a constant event name, facts as keys, and never a secret."""

    def debug(self, event: str, /, **facts: object) -> None:
        """Log a fact for developers."""

    def info(self, event: str, /, **facts: object) -> None:
        """Log a change that an operator wants to find later."""

    def warning(self, event: str, /, **facts: object) -> None:
        """Log something that works but needs an operator's attention."""

    def error(self, event: str, /, **facts: object) -> None:
        """Log something that does not work."""


class Spawn(Protocol):
    """Starts a supervised task that ends with the provider."""

    def __call__(self, name: str, work: Coroutine[Any, Any, None]) -> None:  # Any: send type unused
        """Run `work`; if it raises, the core logs the failure and shows it in the status."""


class Pacer(Protocol):
    """A token bucket: each call takes one token, and tokens come back at a steady rate."""

    async def take(self) -> None:
        """Return when one more call may be made."""

    def hold(self, seconds: float) -> None:
        """Block all calls for `seconds`, after the API has refused one as too many."""


class Pacing(Protocol):
    """Gives each account its pacer; all providers of a plugin that name the account share it."""

    def __call__(self, account: str, *, rate: float, burst: int) -> Pacer:
        """Return the pacer of `account`: `burst` calls at once, then `rate` calls a second.

        The first call for an account sets the figures.
        """


@attrs.frozen(kw_only=True)
class PluginContext:
    """The world as one provider may see it. It shares nothing with the context of another plugin.

    `state_dir` is the plugin's own directory (mode 0700) and exists. `run_dir` is the same for
    sockets, whose paths must stay below 100 bytes. `wake` asks the loop to read the world soon; it
    never blocks, and a provider may call it often. `read_only` is true in a dry run: the provider
    observes and changes nothing, and it starts no helper process. `pacing` gives the token bucket of
    an account whose API limits the rate of calls.
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

    def refuse_dry_run(self) -> None:
        """Raise `PermanentError` in a dry run; call it before every change."""
        if self.read_only:
            raise PermanentError(f"{self.plugin}: a dry run changes nothing")
