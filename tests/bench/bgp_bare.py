"""The library's own speaker as a route reflector: what the plugin's is measured against."""

from __future__ import annotations

import os
import sys
import warnings

os.environ["OSKEN_HUB_TYPE"] = "eventlet"
warnings.simplefilter("ignore")

import eventlet  # noqa: E402 - patching comes before every other import

eventlet.monkey_patch()

from os_ken.services.protocols.bgp.bgpspeaker import BGPSpeaker  # noqa: E402 - as above
from tests.bench.bgp_clients import ASN, client_address  # noqa: E402 - as above


def main(address: str, port: int, clients: int) -> None:
    """Serve so many clients until it is killed."""
    speaker = BGPSpeaker(
        as_number=ASN,
        router_id=address,
        bgp_server_hosts=(address,),
        bgp_server_port=port,
        cluster_id=address,
    )
    for number in range(clients):
        speaker.neighbor_add(
            str(client_address(number)), ASN, is_route_reflector_client=True, connect_mode="passive"
        )
    while True:
        eventlet.sleep(3600)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
