"""Our rules as text, in both packet filters."""

from __future__ import annotations

from ipaddress import IPv4Network
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routerd.errors import PermanentError, TransientError
from routerd.kernel.firewall import table
from routerd.kernel.firewall.rules import (
    check,
    describe,
    iptables_place,
    iptables_rule,
    nft_rule,
    parse_description,
    parse_saved,
)
from routerd.model.firewall import Accept, FirewallKey, MssClamp
from routerd.model.names import LinkName

links = st.sampled_from([LinkName("samt0123456789a"), LinkName("eth0.100"), LinkName("rd-wg")])
chains: st.SearchStrategy[Literal["input", "forward"]] = st.sampled_from(["input", "forward"])
sources = st.none() | st.tuples(st.integers(1, 2**32 - 1), st.integers(1, 32)).map(
    lambda p: IPv4Network(p, strict=False)
)
accepts = st.builds(
    Accept,
    chain=chains,
    protocol=st.sampled_from(["", "4", "47", "tcp"]),
    in_link=st.none() | links,
    out_link=st.none() | links,
    source=sources,
) | st.builds(Accept, chain=chains, protocol=st.sampled_from(["tcp", "udp"]), port=st.integers(1, 65535))
keys: st.SearchStrategy[FirewallKey] = accepts | st.builds(MssClamp, link=links)


@given(keys)
def test_the_comment_of_a_rule_holds_its_key_and_fits(key: FirewallKey) -> None:
    comment = f"routerd {describe(key)}"
    assert parse_description(comment) == key
    assert len(comment) <= 128
    assert f'comment "{comment}"' in nft_rule(key)


@given(keys)
def test_a_saved_rule_of_iptables_gives_its_key(key: FirewallKey) -> None:
    chain = iptables_place(key)[1]
    (saved,) = parse_saved(f"-A {chain} {iptables_rule(key)}\n")
    assert saved.key == key


@pytest.mark.parametrize(
    "line",
    [
        "-A INPUT -p udp -m udp --dport 51820 -j ACCEPT",
        "-A INPUT -p udp -m comment --comment somebody -j ACCEPT",
        "-A INPUT -p udp -m comment --comment routerdx -j ACCEPT",
        '-A INPUT -p udp -m comment --comment "routerd accept input protocol=udp" -j ACCEPT',
        "-A INPUT -p udp -m comment --comment routerd -j DROP",
        "-A INPUT ! -s 10.0.0.0/8 -m comment --comment routerd -j ACCEPT",
        "-A CUSTOM -p udp -m comment --comment routerd -j ACCEPT",
    ],
)
def test_a_saved_rule_of_another_form_is_foreign(line: str) -> None:
    (saved,) = parse_saved(line)
    assert saved.key is None


@pytest.mark.parametrize(
    "comment",
    [
        "routerd",
        "routerd accept",
        "routerd accept input for the web",
        "routerd accept input protocol=tcp port=80 please",
        "routerd  accept input protocol=tcp",
        "routerd accept input port=80 protocol=tcp",
        "routerd mss eth0 and more",
        "routerd: accept input",
    ],
)
def test_a_comment_of_another_form_is_foreign(comment: str) -> None:
    assert parse_description(comment) is None


@pytest.mark.parametrize(("number", "name"), [("4", "ipencap"), ("47", "gre"), ("udp", "17")])
def test_a_protocol_has_one_form_for_its_name_and_number(number: str, name: str) -> None:
    (saved,) = parse_saved(f"-A INPUT -p {name} -m comment --comment routerd -j ACCEPT")
    assert saved.key == Accept(chain="input", protocol=number)


@pytest.mark.parametrize(
    "key",
    [
        Accept(chain="input", protocol="bogus"),
        Accept(chain="input", protocol="256"),
        Accept(chain="input", protocol="4", port=1),
        Accept(chain="input", in_link=LinkName('x" accept; flush ruleset; "')),
        MssClamp(link=LinkName("a b")),
    ],
)
def test_an_impossible_rule_is_refused(key: FirewallKey) -> None:
    with pytest.raises(PermanentError, match="firewall rule"):
        check(key)


def test_an_opening_in_the_words_of_each_program() -> None:
    key = Accept(
        chain="input",
        protocol="udp",
        port=51820,
        in_link=LinkName("eth0"),
        source=IPv4Network("192.0.2.0/24"),
    )
    described = "accept input source=192.0.2.0/24 in_link=eth0 protocol=udp port=51820"
    assert describe(key) == described
    assert nft_rule(key) == (
        f'iifname "eth0" ip saddr 192.0.2.0/24 udp dport 51820 accept comment "routerd {described}"'
    )
    assert iptables_rule(key) == (
        "-s 192.0.2.0/24 -i eth0 -p udp -m udp --dport 51820 -m comment --comment routerd -j ACCEPT"
    )


def test_an_opening_without_a_port_names_its_protocol() -> None:
    key = Accept(chain="forward", protocol="47", out_link=LinkName("t1"))
    assert nft_rule(key) == (
        'oifname "t1" meta l4proto 47 accept comment "routerd accept forward out_link=t1 protocol=47"'
    )
    assert iptables_rule(key) == "-o t1 -p 47 -m comment --comment routerd -j ACCEPT"


def test_a_failed_look_at_the_legacy_tables_is_not_taken_for_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place, content in ((tmp_path / "none", []), (tmp_path / "names", ["filter", "nat"])):
        if content:
            place.write_text("\n".join(content) + "\n")
        monkeypatch.setattr(table, "_LEGACY_TABLES", place)
        assert table._legacy_tables() == content
    monkeypatch.setattr(table, "_LEGACY_TABLES", tmp_path)
    with pytest.raises(TransientError, match="it cannot be read"):
        table._legacy_tables()


def test_remarks_and_lines_that_are_no_words_cost_no_other_rule() -> None:
    ours = f"-A FORWARD {iptables_rule(Accept(chain='forward', in_link=LinkName('t1')))}"
    remark = "# Warning: iptables-legacy tables present, use 'iptables-legacy-save'; it's so"
    text = ["-P FORWARD DROP", remark, "-A X -m comment --comment \"it's", ours]
    policy, unread, last = parse_saved("\n".join(text))
    assert (policy.target, last.key) == ("DROP", Accept(chain="forward", in_link=LinkName("t1")))
    assert unread.unread == "-A X -m comment --comment \"it's"
    assert not any(parse_saved("# it's somebody's"))
