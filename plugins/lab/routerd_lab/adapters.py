"""Adapters from each emulated cloud to the lab: its API, its metadata service, and what it enforces."""

from collections.abc import Callable, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network
from typing import Protocol

import attrs
from aiohttp import web

from routerd_lab.clouds.pve import PveHost
from routerd_lab.clouds.pve_guest import Ended, Guest
from routerd_lab.clouds.state import Machine as CloudMachine
from routerd_lab.enforce import Controls, Port
from routerd_lab.namespaces import Machine
from routerd_lab.topology import Node, Site

OCI_REGION = "ap-tokyo-1"
OCI_KEY = "nrt"


class Cloud(Protocol):
    """One site's cloud. The fabric asks `controls` after each change."""

    def api(self) -> web.Application:
        """Return the API, served over TLS."""

    def metadata(self, node: Node) -> web.Application | None:
        """Return the metadata service of one router, or none if the cloud has no such service."""

    def controls(self) -> Controls | None:
        """Return what the fabric enforces now, or none where it enforces nothing."""


class _Network(Protocol):
    """The common part of the emulators whose cloud has a route table."""

    def app(self) -> web.Application: ...

    def forwarding(self, name: str) -> bool: ...

    def routes(self) -> dict[IPv4Network, IPv4Address | None]: ...


@attrs.frozen
class RoutedCloud:
    """A cloud whose fabric obeys NIC switches and one route table."""

    site: Site
    network: _Network
    ask_metadata: Callable[[str], web.Application]

    def api(self) -> web.Application:
        """Return the emulated API."""
        return self.network.app()

    def metadata(self, node: Node) -> web.Application:
        """Return the metadata service of an instance."""
        return self.ask_metadata(node.name)

    def controls(self) -> Controls:
        """Return the NICs' switches and the subnet's route table."""
        ports = tuple(
            Port(
                device=node.primary.port,
                address=node.primary.address.ip,
                subnet=self.site.name,
                forwarding=self.network.forwarding(node.name),
            )
            for node in self.site.nodes
        )
        return Controls(ports=ports, tables={self.site.name: self.network.routes()})


@attrs.frozen
class ProxmoxHost:
    """A Proxmox VE host: it wires its guests and enforces nothing."""

    host: PveHost

    def api(self) -> web.Application:
        """Return the emulated API."""
        return self.host.app()

    def metadata(self, node: Node) -> None:
        """Return nothing: Proxmox VE has no metadata service."""

    def controls(self) -> None:
        """Return nothing: the routes are inside the guests."""


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


def _machines(site: Site) -> tuple[CloudMachine, ...]:
    return tuple(
        CloudMachine(name=node.name, address=node.primary.address.ip, public=node.primary.public)
        for node in site.nodes
    )


# Only the process of a cloud imports its emulator, which brings libraries of its own.


def _aws(site: Site, changed: Callable[[], None]) -> Cloud:
    from routerd_lab.clouds.aws import AwsRegion  # noqa: PLC0415 - see above
    from routerd_lab.clouds.metadata_aws import metadata_app  # noqa: PLC0415 - see above

    region = AwsRegion(network=site.network, subnet=site.subnet, machines=_machines(site), on_change=changed)
    return RoutedCloud(site, region, lambda name: metadata_app(region.metadata(name)))


def _azure(site: Site, changed: Callable[[], None]) -> Cloud:
    from routerd_lab.clouds.azure import AzureSubscription  # noqa: PLC0415 - see above
    from routerd_lab.clouds.metadata_azure import metadata_app  # noqa: PLC0415 - see above

    subscription = AzureSubscription(
        network=site.network, subnet=site.subnet, machines=_machines(site), on_change=changed
    )
    return RoutedCloud(site, subscription, lambda name: metadata_app(subscription.metadata(name)))


def _oci(site: Site, changed: Callable[[], None]) -> Cloud:
    from routerd_lab.clouds.metadata_oci import metadata_app  # noqa: PLC0415 - see above
    from routerd_lab.clouds.oci import Instance, OciRegion  # noqa: PLC0415 - see above

    region = OciRegion(
        network=site.network,
        subnet=site.subnet,
        instances=[Instance(name=node.name, address=node.primary.address.ip) for node in site.nodes],
        region=OCI_REGION,
        key=OCI_KEY,
        on_change=changed,
    )
    return RoutedCloud(site, region, lambda name: metadata_app(region.metadata(name)))


def _pve(site: Site, changed: Callable[[], None], guests: Mapping[int, int], token: str) -> Cloud:
    names = {node.vmid: node.name for node in site.nodes}
    known = {
        vmid: Guest(name=names[vmid], system=_GuestInLab(Machine(name=names[vmid], pid=pid)))
        for vmid, pid in guests.items()
    }
    return ProxmoxHost(PveHost(token=token, guests=known, on_change=changed))
