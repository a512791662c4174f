"""The contract of the routing family, with a real speaker."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Mapping
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import attrs
import pytest

from routerd.model.session import Advertisement, ImportPolicy, Session, Speaker, Timers
from routerd.spi import Routing
from routerd.testing.bgp import ScriptedSpeaker
from routerd.testing.contracts import BgpRoutingContract, Neighbour, Samples
from routerd.testing.contracts.table import fill
from routerd_bgp_ryu.testing.real import RealSpeaker

LISTEN = IPv4Address(f"127.{1 + secrets.randbelow(250)}.251.{1 + secrets.randbelow(250)}")
SPEAKER = Speaker(asn=64577, router_id=LISTEN, owner="BGPRouter/a", port=17901, listen=LISTEN)
SESSION = Session(peer_asn=64577, owner="BGPPeer/a", passive=True)
ADVERTISEMENT = Advertisement(owner="SAMClaim/a")
HELD = Session(
    peer_asn=64577,
    peer_router_id=IPv4Address("10.99.0.11"),
    owner="BGPDynamicPeer/a",
    passive=True,
    timers=Timers(connect_retry=1, hold=9, keepalive=3),
    leaf="a",
    claim="SAMEnrollmentClaim/a",
)
ONE, TWO = IPv4Address("192.0.2.1"), IPv4Address("192.0.2.2")


@pytest.mark.live
class TestBgp(RealSpeaker, BgpRoutingContract):
    @pytest.fixture
    async def neighbour(self) -> AsyncIterator[Neighbour]:
        address, prefix = LISTEN + 256, IPv4Network("10.88.1.9/32")
        speakers: list[ScriptedSpeaker] = []

        async def speak(asn: int, router_id: IPv4Address) -> None:
            for before in speakers:
                await before.aclose()
            speakers.append(ScriptedSpeaker(address, asn, router_id, prefix))
            speakers[-1].dial(LISTEN, SPEAKER.port)

        yield Neighbour(address=address, session=HELD, prefix=prefix, speak=speak)
        for speaker in speakers:
            await speaker.aclose()

    @pytest.fixture
    def samples(self) -> Mapping[str, Samples[Any, Any]]:
        async def prepare(routing: Routing) -> None:
            await fill(routing.speakers, {"a": SPEAKER})

        host = IPv4Network("10.88.1.1/32")
        return {
            "speakers": Samples(values={"a": SPEAKER}, replacement={"a": attrs.evolve(SPEAKER, asn=64578)}),
            "import_policies": Samples(
                values={ONE: ImportPolicy(hosts=frozenset({host})), TWO: ImportPolicy()},
                replacement={ONE: ImportPolicy(within=frozenset({host}))},
                prepare=prepare,
            ),
            "sessions": Samples(
                values={ONE: SESSION, TWO: SESSION},
                replacement={ONE: attrs.evolve(SESSION, route_reflector_client=True)},
                prepare=prepare,
            ),
            "advertisements": Samples(
                values={host: ADVERTISEMENT, IPv4Network("10.88.1.2/32"): ADVERTISEMENT},
                replacement={host: attrs.evolve(ADVERTISEMENT, communities=frozenset({"64512:100"}))},
                prepare=prepare,
            ),
        }
