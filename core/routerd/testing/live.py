"""The kernel of this network namespace, and real time: for tests that show what no fake can.

Such a test changes the namespace in which it runs, so start it in one of its own (`unshare -Urn`), and give
it an end: a real clock waits for real seconds.

Added in 1.0.
"""

from __future__ import annotations

from pathlib import Path

from routerd.kernel.links import NetlinkKernel
from routerd.process.clock import SystemClock
from routerd.spi import Clock, Kernel, PluginContext
from routerd.testing.context import make_context


def real_kernel() -> Kernel:
    """Return the kernel of this network namespace, as the daemon gives it to a provider.

    Added in 1.0.
    """
    return NetlinkKernel()


def real_clock() -> Clock:
    """Return the clock of this host, as the daemon gives it to a provider.

    Added in 1.0.
    """
    return SystemClock()


def live_context(tmp_path: Path, *, read_only: bool = False) -> PluginContext:
    """Return a context with the real kernel and a real clock; its other parts are those of `make_context`.

    Added in 1.0.
    """
    return make_context(tmp_path, kernel=real_kernel(), clock=real_clock(), read_only=read_only)
