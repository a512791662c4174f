"""wireguard-go keeps the contract. Not collected: `test_wireguard_userspace.py` runs it."""

from __future__ import annotations

from typing import ClassVar

from plugins.transport_wireguard.tests.wireguard_real_contract import RealContract
from plugins.transport_wireguard.tests.wireguard_world import USERSPACE

from routerd_transport_wireguard.config import WireGuardOptions


class TestUserspaceWireGuard(RealContract):
    backend: ClassVar[WireGuardOptions] = USERSPACE


del RealContract
