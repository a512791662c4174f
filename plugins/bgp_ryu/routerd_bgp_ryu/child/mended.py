"""The library's modules by name, and everything in it that is mended once, before a speaker is made."""

from __future__ import annotations

from collections.abc import Callable
from functools import partialmethod
from importlib import import_module

from routerd_bgp_ryu.child.quirks import (
    Library,
    accept_forever,
    mend_bursts,
    mend_confirmation,
    mend_hold_timer,
    mend_loops,
    mend_passwords,
    mend_replacements,
)
from routerd_bgp_ryu.child.restart import mend_losses
from routerd_bgp_ryu.child.timers import mend_timers


def library(name: str) -> Library:
    """Import a module of os-ken, or the same of Ryu where that is what is installed."""
    try:
        return import_module(f"os_ken.{name}")
    except ModuleNotFoundError:
        return import_module(f"ryu.{name}")


def bgp(name: str) -> Library:
    """Import a module of the library's BGP service."""
    return library(f"services.protocols.bgp.{name}")


def mend(stranger: Callable[[str, bytes], None], holds: Callable[[str, str], bool]) -> None:
    """Mend the library; `stranger` is told who dials without being a neighbour.

    `holds` says of a neighbour's prefix whether it is kept although the session was lost.
    """
    bgp("core").CoreService._listen_socket_loop = partialmethod(accept_forever, stranger=stranger)  # noqa: SLF001 - see there
    mend_passwords(library("lib.sockopt"))
    mend_timers(bgp("utils"))
    mend_hold_timer(bgp("speaker"))
    mend_confirmation(bgp("speaker"), library("lib.packet.bgp").BGP_MSG_OPEN)
    mend_bursts(bgp("info_base.base"))
    mend_losses(bgp("info_base.base"), holds)
    mend_loops(bgp("peer"))
    mend_replacements(bgp("peer"))
