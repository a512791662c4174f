"""The userspace backend keeps the contract, for real. Not collected: `test_ipip_userspace.py` runs it."""

from __future__ import annotations

from typing import ClassVar

from plugins.transport_ipip.tests.ipip_real_contract import RealContract
from plugins.transport_ipip.tests.ipip_world import USERSPACE

from routerd_transport_ipip.config import IpipOptions


class TestUserspaceIpip(RealContract):
    mode: ClassVar[str] = "ipip"
    backend: ClassVar[IpipOptions] = USERSPACE


class TestUserspaceFou(RealContract):
    mode: ClassVar[str] = "fou"
    backend: ClassVar[IpipOptions] = USERSPACE


class TestUserspaceGre(RealContract):
    mode: ClassVar[str] = "gre"
    backend: ClassVar[IpipOptions] = USERSPACE


del RealContract
