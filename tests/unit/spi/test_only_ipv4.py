"""A plugin without IPv6 says so by key, and nothing else of its work stops."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from typing import Any

import attrs
import pytest

from routerd.errors import UnsupportedError
from routerd.model.change import Change
from routerd.model.names import LinkName
from routerd.model.session import Advertisement, ImportPolicy, Session
from routerd.model.tunnel import Tunnel
from routerd.spi import check_ipv4, only_ipv4

FOUR, SIX = IPv4Address("192.0.2.1"), IPv6Address("2001:db8::1")
NET_4, NET_6 = IPv4Network("192.0.2.0/24"), IPv6Network("2001:db8::/64")
TUNNEL = Tunnel(
    link=LinkName("t"), mode="m", owner="o", mtu=1400, local=FOUR, remote=IPv4Address("192.0.2.2"),
    addresses=(IPv4Interface("10.0.0.1/31"),),
)  # fmt: skip
INNER_6 = (*TUNNEL.addresses, IPv6Interface("2001:db8::1/127"))


@attrs.frozen
class Options:
    group: IPv6Address = SIX


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (SIX, Session(peer_asn=1, owner="o")),
        (FOUR, Session(peer_asn=1, owner="o", source=SIX)),
        (FOUR, ImportPolicy(hosts=frozenset({NET_4, NET_6}))),
        (NET_6, Advertisement(owner="o")),
        (NET_4, Advertisement(owner="o", next_hop=SIX)),
    ],
    ids=["session", "source", "policy", "prefix", "next hop"],
)
def test_a_change_with_ipv6_fails_by_its_key_in_words(key: Any, value: object) -> None:
    bad = Change[Any, object](key=key, before=None, after=value)
    good = Change[Any, object](key="192.0.2.9", before=None, after=Session(peer_asn=1, owner="o"))
    changes, failures = only_ipv4([bad, good], lambda key: f"thing {key}")
    assert changes == [good]
    assert failures.keys() == {key}
    assert isinstance(failures[key], UnsupportedError)
    assert str(failures[key]).startswith(f"thing {key}: 2001:db8::")
    assert str(failures[key]).endswith("is IPv6; routerd does not support IPv6 here yet; use IPv4")


def test_changes_of_ipv4_all_stay() -> None:
    gone = Change[Any, Session](key=FOUR, before=Session(peer_asn=1, owner="o"), after=None)
    assert only_ipv4([gone], str) == ([gone], {})


@pytest.mark.parametrize("change", [{"local": SIX}, {"remote": SIX}, {"addresses": INNER_6}], ids=str)
def test_a_tunnel_with_an_ipv6_address_is_unsupported(change: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedError, match=r"^tunnel t: 2001:db8::1(/127)? is IPv6; "):
        check_ipv4(attrs.evolve(TUNNEL, **change))


@pytest.mark.parametrize(
    "tunnel", [TUNNEL, attrs.evolve(TUNNEL, options=Options()), attrs.evolve(TUNNEL, local=None, remote=None)]
)
def test_a_tunnel_of_ipv4_passes_whatever_its_options_are(tunnel: Tunnel) -> None:
    check_ipv4(tunnel)
