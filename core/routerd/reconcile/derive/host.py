"""The needs of the host itself: kernel settings and openings in its packet filter."""

from collections.abc import Iterator
from ipaddress import IPv4Network

from routerd.model.firewall import Accept, FirewallKey, FirewallRule, MssClamp
from routerd.model.names import LinkName
from routerd.model.specs import BGPRouterSpec, ControlAPISpec, SysctlProfileSpec, SysctlSpec
from routerd.model.tunnel import Tunnel
from routerd.reconcile.derive.inputs import Inputs
from routerd.reconcile.derive.overlay import Adjacencies, explicit
from routerd.reconcile.desired import DesiredTable

_ROUTER_LINUX = {"net.ipv4.ip_forward": "1"}
_PROTOCOL = {"ipip": "4", "gre": "47"}


def tables(inputs: Inputs, links: Adjacencies) -> dict[str, DesiredTable]:
    """Return the tables of sysctls and firewall rules."""
    rules = _rules(inputs, links)
    return {
        "sysctls": DesiredTable(
            values=_sysctls(inputs, links), complete=links.complete and inputs.wireguard_keys_known()
        ),
        "firewall": DesiredTable(
            values=rules,
            complete=links.complete,
            owners={key: rule.owner for key, rule in rules.items()},
        ),
    }


def _sysctls(inputs: Inputs, links: Adjacencies) -> dict[str, str]:
    settings: dict[str, str] = {}
    if links.items:
        settings["net.ipv4.ip_forward"] = "1"
    for link in _own_links(inputs, links):
        # Strict reverse-path filtering drops a packet that arrives over another tunnel than its reply
        # would take. The kernel uses the larger of this and `all`; 2 is loose.
        settings[f"net.ipv4.conf.{link}.rp_filter"] = "2"
    for found in inputs.intent.of(SysctlProfileSpec):
        settings |= _ROUTER_LINUX | dict(found.spec.overrides)
    for sysctl in inputs.intent.of(SysctlSpec):
        if sysctl.spec.runtime:
            settings[sysctl.spec.key] = sysctl.spec.value
    return settings


def _own_links(inputs: Inputs, links: Adjacencies) -> Iterator[LinkName]:
    """Yield the devices of routerd; a WireGuard device exists only once its key is known."""
    for adjacency in links:
        yield adjacency.tunnel.link
    for tunnel in explicit(inputs):
        yield tunnel.link
    for link, found in inputs.wireguard_devices().items():
        if found.name in inputs.public_keys:
            yield link


def _rules(inputs: Inputs, links: Adjacencies) -> dict[FirewallKey, FirewallRule]:
    rules: dict[FirewallKey, FirewallRule] = {}
    for device in inputs.wireguard_devices().values():
        if device.spec.listen_port is not None:
            key = Accept(chain="input", protocol="udp", port=device.spec.listen_port)
            rules[key] = FirewallRule(owner=device.ref)
    router = inputs.intent.first(BGPRouterSpec)
    for tunnel in (*(adjacency.tunnel for adjacency in links), *explicit(inputs)):
        link = tunnel.link
        rule = FirewallRule(owner=tunnel.owner)
        rules[_underlay(tunnel)] = rule
        if router is not None:
            rules[Accept(chain="input", protocol="tcp", port=router.spec.listen.port, in_link=link)] = rule
        rules[Accept(chain="forward", in_link=link)] = rule
        rules[Accept(chain="forward", out_link=link)] = rule
        rules[MssClamp(link=link)] = rule
    for api in inputs.intent.of(ControlAPISpec):
        if not api.spec.enabled:
            continue
        for source in api.spec.allow_cidrs:
            if isinstance(source, IPv4Network) and not source.is_loopback:
                # A packet filter has no prefix for every source; the rule then names no source.
                known = source if source.prefixlen else None
                opening = Accept(chain="input", protocol="tcp", port=api.spec.port, source=known)
                rules[opening] = FirewallRule(owner=api.ref)
    return rules


def _underlay(tunnel: Tunnel) -> Accept:
    """Return the opening for the tunnel's own packets from its far end."""
    source = IPv4Network(tunnel.remote) if tunnel.remote is not None else None
    if tunnel.encapsulation is not None:
        return Accept(chain="input", protocol="udp", port=tunnel.encapsulation.sport, source=source)
    return Accept(chain="input", protocol=_PROTOCOL.get(tunnel.mode, ""), source=source)
