"""Whom the enrollment listener may let in, and what it must ask of them for that."""

from __future__ import annotations

from datetime import UTC, datetime
from ipaddress import IPv4Network

import pytest

from routerd import config
from routerd.errors import ConfigError
from routerd.model.firewall import Accept
from routerd.reconcile.derive import Inputs, derive

FILE = """
apiVersion: routerd.net/v1alpha1
kind: Router
metadata: {{name: r}}
spec:
  resources:
    - apiVersion: system.routerd.net/v1alpha1
      kind: ControlAPI
      metadata: {{name: api}}
      spec: {{{spec}}}
"""
TLS = "tls: {certFile: /c, keyFile: /k}"
MUTUAL = "tls: {certFile: /c, keyFile: /k, clientCAFile: /a}"
TOKEN = "tokenFrom: {file: /t}"


def said(*spec: str) -> tuple[list[str], list[str]]:
    """Return the errors and the warnings, without where they stand."""
    try:
        loaded = config.load_text(FILE.format(spec=", ".join(spec)), file="r.yaml")
    except ConfigError as error:
        found = [
            str(each).partition("ControlAPI/api ")[2] for each in error.problems if each.severity == "error"
        ]
        return found, []
    return [], [str(each).partition("ControlAPI/api ")[2] for each in loaded.warnings]


@pytest.mark.parametrize("world", ["0.0.0.0/0", "'::/0'"])
class TestEverybody:
    @pytest.mark.parametrize(
        ("with_what", "missing"),
        [
            ([], "tls and tokenFrom"),
            ([TLS], "tokenFrom"),
            ([MUTUAL], "tokenFrom"),
            ([TOKEN], "tls"),
        ],
    )
    def test_everybody_is_let_in_only_by_tls_and_with_a_token(
        self, world: str, with_what: list[str], missing: str
    ) -> None:
        errors, _ = said(f"allowCIDRs: [10.0.0.0/8, {world}]", *with_what)
        prefix = world.strip("'")
        (error,) = errors
        assert error == (
            f"spec.allowCIDRs[1]: {prefix} lets everybody in, and {missing} of ControlAPI is missing; "
            f"name the leaves' networks, or add {missing}"
        )

    @pytest.mark.parametrize("tls", [TLS, MUTUAL])
    def test_with_both_it_may(self, world: str, tls: str) -> None:
        assert said(f"allowCIDRs: [{world}]", tls, TOKEN) == ([], [])


@pytest.mark.parametrize("halves", ["0.0.0.0/1, 128.0.0.0/1", "'::/1', '8000::/1', 10.0.0.0/8"])
def test_everybody_in_pieces_is_everybody(halves: str) -> None:
    (error,) = said(f"allowCIDRs: [{halves}]")[0]
    assert "/0 lets everybody in" in error
    assert said(f"allowCIDRs: [{halves}]", TLS, TOKEN) == ([], [])


class TestClearText:
    @pytest.mark.parametrize("address", ["0.0.0.0", "192.0.2.1", "'::'"])
    def test_a_token_in_clear_text_on_a_network_is_a_warning(self, address: str) -> None:
        errors, (warning,) = said(f"listenAddress: {address}", TOKEN)
        assert errors == []
        assert warning == (
            f"spec.tokenFrom: is sent in clear text to {address.strip(chr(39))}: "
            "who reads it on the way can use it; add tls"
        )

    @pytest.mark.parametrize(
        "spec",
        [
            ["listenAddress: 127.0.0.1", TOKEN],
            ["listenAddress: '::1'", TOKEN],
            ["listenAddress: 0.0.0.0", TOKEN, TLS],
            ["listenAddress: 0.0.0.0"],
        ],
    )
    def test_it_is_none_on_loopback_or_with_tls_or_without_a_token(self, spec: list[str]) -> None:
        assert said(*spec) == ([], [])


@pytest.mark.parametrize(
    ("prefix", "source"), [("0.0.0.0/0", None), ("192.0.2.0/24", IPv4Network("192.0.2.0/24"))]
)
def test_the_packet_filter_is_opened_for_everybody_without_a_source(
    prefix: str, source: IPv4Network | None
) -> None:
    # iptables leaves a prefix of everything away, and would differ from what is wanted for ever.
    intent = config.load_text(FILE.format(spec=f"allowCIDRs: [{prefix}], {TLS}, {TOKEN}"), file="r").intent
    rules = derive(Inputs(intent=intent, now=datetime(2026, 1, 1, tzinfo=UTC))).table("firewall").values
    assert list(rules) == [Accept(chain="input", protocol="tcp", port=65432, source=source)]
