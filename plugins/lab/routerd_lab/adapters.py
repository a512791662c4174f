"""Adapters from each emulated cloud to the lab: its API, its metadata service, and what it enforces."""

from collections.abc import Callable, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network

import attrs
from aiohttp import web

from routerd_lab.clouds.pve import PveHost
from routerd_lab.clouds.pve_guest import Ended, Guest
from routerd_lab.clouds.state import Machine as CloudMachine
from routerd_lab.enforce import Controls, Port
from routerd_lab.namespaces import Machine
from routerd_lab.topology import Site

OCI_REGION = "ap-tokyo-1"
OCI_KEY = "nrt"


@attrs.frozen(kw_only=True)
class Cloud:
    """One site's cloud: its API, which is served over TLS, and what the lab asks of it.

    `metadata` makes the metadata service of one router, by the router's name. `controls` returns what the
    fabric enforces now; the fabric asks after each change. A Proxmox VE host has neither: it only wires its
    guests, and the routes are inside them.
    """

    api: web.Application
    metadata: Callable[[str], web.Application] | None = None
    controls: Callable[[], Controls] | None = None


@attrs.frozen
class _GuestInLab:
    """A guest that is a machine of the lab; its agent is this process."""

    machine: Machine

    async def run(self, command: Sequence[str], text: str) -> Ended:
        """Run the command in the machine's namespaces."""
        done = await self.machine.execute(*command, text=text)
        return Ended(status=done.status, out=done.out, err=done.err)


def make_cloud(
    site: Site, changed: Callable[[], None], guests: Mapping[int, int], *, token: str = ""
) -> Cloud:
    """Return the cloud of a site.

    `guests` are the holders of a Proxmox VE host's guests by vmid, `token` its API token.
    """
    makers: Mapping[str, Callable[[], Cloud]] = {
        "aws": lambda: _aws(site, changed),
        "azure": lambda: _azure(site, changed),
        "oci": lambda: _oci(site, changed),
        "pve": lambda: _pve(site, changed, guests, token),
    }
    return makers[site.name]()


def _controls(
    site: Site,
    forwarding: Callable[[str], bool],
    routes: Callable[[], Mapping[IPv4Network, IPv4Address | None]],
) -> Callable[[], Controls]:
    """Return what reads the NICs' switches and the one route table of a cloud."""
    return lambda: Controls(
        ports=tuple(
            Port(
                device=node.primary.port,
                address=node.primary.address.ip,
                subnet=site.name,
                forwarding=forwarding(node.name),
            )
            for node in site.nodes
        ),
        tables={site.name: routes()},
    )


def _machines(site: Site) -> tuple[CloudMachine, ...]:
    return tuple(
        CloudMachine(name=node.name, address=node.primary.address.ip, public=node.primary.public)
        for node in site.nodes
    )


# Only the process of a cloud imports its emulator, which brings libraries of its own.


def _aws(site: Site, changed: Callable[[], None]) -> Cloud:
    from routerd_lab.clouds.aws import AwsRegion  # noqa: PLC0415 - see above

    region = AwsRegion(network=site.network, subnet=site.subnet, machines=_machines(site), on_change=changed)
    return Cloud(
        api=region.app(),
        metadata=region.metadata,
        controls=_controls(site, region.forwarding, region.routes),
    )


def _azure(site: Site, changed: Callable[[], None]) -> Cloud:
    from routerd_lab.clouds.azure import AzureSubscription  # noqa: PLC0415 - see above

    subscription = AzureSubscription(
        network=site.network, subnet=site.subnet, machines=_machines(site), on_change=changed
    )
    return Cloud(
        api=subscription.app(),
        metadata=subscription.metadata,
        controls=_controls(site, subscription.forwarding, subscription.routes),
    )


def _oci(site: Site, changed: Callable[[], None]) -> Cloud:
    from routerd_lab.clouds.oci import Instance, OciRegion  # noqa: PLC0415 - see above

    region = OciRegion(
        network=site.network,
        subnet=site.subnet,
        instances=[Instance(name=node.name, address=node.primary.address.ip) for node in site.nodes],
        region=OCI_REGION,
        key=OCI_KEY,
        on_change=changed,
    )
    return Cloud(
        api=region.app(),
        metadata=region.metadata,
        controls=_controls(site, region.forwarding, region.routes),
    )


def _pve(site: Site, changed: Callable[[], None], guests: Mapping[int, int], token: str) -> Cloud:
    names = {node.vmid: node.name for node in site.nodes}
    known = {
        vmid: Guest(name=names[vmid], system=_GuestInLab(Machine(name=names[vmid], pid=pid)))
        for vmid, pid in guests.items()
    }
    return Cloud(api=PveHost(token=token, guests=known, on_change=changed).app())
