"""The needs of the host itself: kernel settings and openings in its packet filter."""

from collections.abc import Iterator
from ipaddress import IPv4Network

from routerd.model.addresses import IPAddress, host_prefix
from routerd.model.change import DesiredTable
from routerd.model.firewall import Accept, FirewallKey, FirewallRule, MssClamp
from routerd.model.names import LinkName
from routerd.model.specs import BGPRouterSpec, ControlAPISpec, SysctlProfileSpec, SysctlSpec
from routerd.model.tunnel import Opening
from routerd.reconcile.derive.inputs import Inputs
from routerd.reconcile.derive.overlay import Adjacencies
from routerd.reconcile.derive.underlay import Devices

_ROUTER_LINUX = {"net.ipv4.ip_forward": "1"}


def tables(inputs: Inputs, links: Adjacencies, devices: Devices) -> dict[str, DesiredTable]:
    """Return the tables of sysctls and firewall rules."""
    rules = _rules(inputs, links, devices)
    return {
        "sysctls": DesiredTable(
            values=_sysctls(inputs, links), complete=links.complete and inputs.wireguard_keys_known()
        ),
        "firewall": DesiredTable(
            values=rules,
            complete=links.complete and not links.failed and not devices.failed,
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
    for each in links.explicit:
        yield each.tunnel.link
    for link, found in inputs.wireguard_devices().items():
        if found.name in inputs.public_keys:
            yield link


def _rules(inputs: Inputs, links: Adjacencies, devices: Devices) -> dict[FirewallKey, FirewallRule]:
    rules: dict[FirewallKey, FirewallRule] = {}
    for device in devices.items:
        for opening in device.openings:
            rules[_underlay(opening, device.tunnel.remote)] = FirewallRule(owner=device.tunnel.owner)
    router = inputs.intent.first(BGPRouterSpec)
    for each in (*links, *links.explicit):
        link = each.tunnel.link
        rule = FirewallRule(owner=each.tunnel.owner)
        for opening in each.openings:
            rules[_underlay(opening, each.tunnel.remote)] = rule
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
                key = Accept(chain="input", protocol="tcp", port=api.spec.port, source=known)
                rules[key] = FirewallRule(owner=api.ref)
    return rules


def _underlay(opening: Opening, remote: IPAddress | None) -> Accept:
    """Return the rule for a tunnel's own packets, from its far end if it has a fixed one."""
    source = host_prefix(remote) if remote is not None else None
    return Accept(chain="input", protocol=opening.protocol, port=opening.port, source=source)
