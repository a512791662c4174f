"""What most modules of this package take from os-ken: its codec, and the type of its objects."""

from typing import Any

from os_ken.lib.packet import bgp as packet

__all__ = ["Library", "packet"]

Library = Any  # Any: os-ken ships no types
