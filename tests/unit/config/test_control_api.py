"""The prefixes that the enrollment listener lets in, and the proof that it must then ask for."""

from __future__ import annotations

from datetime import UTC, datetime
from ipaddress import IPv4Network

import pytest
from tests.support.modes import MODES

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
    """Return the errors and the warnings, without file and line."""
    try:
        loaded = config.load_text(FILE.format(spec=", ".join(spec)), file="r.yaml")
    except ConfigError as error:
        found = [
            str(each).partition("ControlAPI/api ")[2] for each in error.problems if each.severity == "error"
        ]
        return found, []
    return [], [str(each).partition("ControlAPI/api ")[2] for each in loaded.warnings]


@pytest.mark.parametrize("world", ["0.0.0.0/0", "'::/0'"])
class TestEveryHost:
    @pytest.mark.parametrize(
        ("with_what", "missing"),
        [
            ([], "tls and tokenFrom"),
            ([TLS], "tokenFrom"),
            ([MUTUAL], "tokenFrom"),
            ([TOKEN], "tls"),
        ],
    )
    def test_a_prefix_of_every_host_needs_tls_and_a_token(
        self, world: str, with_what: list[str], missing: str
    ) -> None:
        errors, _ = said(f"allowCIDRs: [10.0.0.0/8, {world}]", *with_what)
        prefix = world.strip("'")
        (error,) = errors
        assert error == (
            f"spec.allowCIDRs[1]: {prefix} lets every host in, and {missing} of ControlAPI is missing; "
            f"name the leaves' networks, or add {missing}"
        )

    @pytest.mark.parametrize("tls", [TLS, MUTUAL])
    def test_with_tls_and_a_token_it_is_valid(self, world: str, tls: str) -> None:
        assert said(f"allowCIDRs: [{world}]", tls, TOKEN) == ([], [])


@pytest.mark.parametrize("halves", ["0.0.0.0/1, 128.0.0.0/1", "'::/1', '8000::/1', 10.0.0.0/8"])
def test_prefixes_that_add_up_to_every_host_need_the_same(halves: str) -> None:
    (error,) = said(f"allowCIDRs: [{halves}]")[0]
    assert "/0 lets every host in" in error
    assert said(f"allowCIDRs: [{halves}]", TLS, TOKEN) == ([], [])


class TestClearText:
    @pytest.mark.parametrize("address", ["0.0.0.0", "192.0.2.1", "'::'"])
    def test_a_token_in_clear_text_on_a_network_is_a_warning(self, address: str) -> None:
        errors, (warning,) = said(f"listenAddress: {address}", TOKEN)
        assert errors == []
        assert warning == (
            f"spec.tokenFrom: is sent in clear text to {address.strip(chr(39))}: "
            "a host on the way can read and use it; add tls"
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
    def test_loopback_tls_or_no_token_gives_no_warning(self, spec: list[str]) -> None:
        assert said(*spec) == ([], [])


@pytest.mark.parametrize(
    ("prefix", "source"), [("0.0.0.0/0", None), ("192.0.2.0/24", IPv4Network("192.0.2.0/24"))]
)
def test_the_opening_for_every_host_has_no_source(prefix: str, source: IPv4Network | None) -> None:
    # iptables omits the prefix 0.0.0.0/0, so a rule with it would never equal the desired one.
    intent = config.load_text(FILE.format(spec=f"allowCIDRs: [{prefix}], {TLS}, {TOKEN}"), file="r").intent
    rules = (
        derive(Inputs(modes=MODES, intent=intent, now=datetime(2026, 1, 1, tzinfo=UTC)))
        .table("firewall")
        .values
    )
    assert list(rules) == [Accept(chain="input", protocol="tcp", port=65432, source=source)]
