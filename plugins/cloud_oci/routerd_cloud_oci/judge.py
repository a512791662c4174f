"""OCI's additions to `spi.site_routes`: the VCN's own prefixes, the room in a table, blackholes. Pure."""

import attrs

from routerd.errors import ProviderError, UnsupportedError
from routerd.model.addresses import IPNetwork, inside
from routerd.spi.site_routes import SiteRouters
from routerd_cloud_oci.faults import FullError
from routerd_cloud_oci.inventory import RouteTable


@attrs.frozen(kw_only=True)
class Site:
    """The facts for judging a rule. `routers` are named by the OCIDs of their private IPs.

    `networks` are the prefixes of the VCN, and `limit` is the number of rules that a table may hold.
    `gone` are targets of foreign rules that no longer exist.
    """

    routers: SiteRouters
    networks: tuple[IPNetwork, ...] = ()
    limit: int
    gone: frozenset[str] = frozenset()


def refuse_new(table: RouteTable, prefix: IPNetwork, used: int, site: Site) -> ProviderError | None:
    """Return why OCI would refuse a new rule; `used` rules are in the table already."""
    where = f"oci route table {table.ref}: {prefix}"
    for network in site.networks:
        if inside(prefix, network):
            return UnsupportedError(
                f"{where} lies inside the VCN's own {network}; OCI routes that locally; "
                "give the remote host an address outside the VCN"
            )
    if used >= site.limit:
        return FullError(
            f"{where} has no room; {used} of {site.limit} rules are in use; remove rules, aggregate "
            "contiguous addresses, or have the limit of route rules per route table raised and set "
            "routeRulesLimit"
        )
    return None


def remedy(target: str | None, site: Site) -> str:
    """Return what the operator can do about a foreign rule to `target`."""
    if target in site.gone:
        return (
            "that target no longer exists or is hidden from us, so the rule is a blackhole that drops "
            "traffic; remove that rule"
        )
    return "remove that rule or stop announcing the prefix"
