"""routerd: a plugin-based network OS framework.

Start with `routerd.hookspecs`. A plugin imports `routerd`, `routerd.spi`, `routerd.model` and
`routerd.errors`; everything else is the daemon's own.
"""

from routerd.hookspecs import hookimpl

__all__ = ["__version__", "hookimpl"]

__version__ = "0.1.0"
