"""Which base chains of nftables the core opens for the fabric."""

from __future__ import annotations

import json

import pytest

from routerd.kernel.firewall.nft import Ruleset


def dropping(table: str, policy: str) -> str:
    place = {"family": "inet", "table": table}
    base = {"type": "filter", "hook": "forward", "prio": 0, "policy": policy}
    rule = {**place, "chain": "judge", "handle": 9, "expr": [{"drop": None}]}
    jump = {**place, "chain": "f", "handle": 8, "expr": [{"jump": {"target": "judge"}}]}
    items = [
        {"chain": {**place, "name": "judge"}},
        {"chain": {**place, "name": "f", **base}},
        {"rule": rule},
        {"rule": jump},
    ]
    return json.dumps({"nftables": items})


@pytest.mark.parametrize("policy", ["accept", "drop"])
def test_a_chain_of_a_subsystem_is_not_opened(policy: str) -> None:
    assert Ruleset.read(dropping("routerd_policy", policy)).barriers(without_iptables=False) == []
    assert len(Ruleset.read(dropping("filter", policy)).barriers(without_iptables=False)) == 1
