"""The parts of pyroute2 that core uses; no other module of core imports pyroute2.

The package's own module imports all of its 160 modules, of which routerd needs some 100. Here it is made
without being run, which saves 4 MB of each daemon. It is run after all when a name is asked for that
only it has, so a plugin may say `from pyroute2 import NDB`.
"""

import sys
from importlib.util import find_spec, module_from_spec
from types import ModuleType


class _Unread(ModuleType):
    """A package whose own module has not been run; its submodules can be imported."""

    def __getattr__(self, name: str) -> object:
        spec = self.__spec__
        if name.startswith("__") or spec is None or spec.loader is None or _is_module(f"pyroute2.{name}"):
            raise AttributeError(f"module {self.__name__} has no attribute {name}")
        self.__class__ = ModuleType  # type: ignore[assignment]  # from now on it is an ordinary module
        spec.loader.exec_module(self)
        found: object = getattr(self, name)
        return found


def _is_module(name: str) -> bool:
    return name in sys.modules or find_spec(name) is not None


def _make_room() -> None:
    if "pyroute2" in sys.modules:
        return
    spec = find_spec("pyroute2")
    if spec is None:
        raise ImportError("pyroute2 is not installed; install routerd with its dependencies")
    module = module_from_spec(spec)
    module.__class__ = _Unread
    sys.modules["pyroute2"] = module


_make_room()

from pyroute2.iproute import AsyncIPRoute  # noqa: E402 - after the room is made
from pyroute2.netlink.exceptions import NetlinkDumpInterrupted, NetlinkError  # noqa: E402 - as above

__all__ = ["AsyncIPRoute", "NetlinkDumpInterrupted", "NetlinkError"]
