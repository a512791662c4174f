"""Each emulated cloud as the lab needs it: its API, its metadata service, and what it enforces."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from aiohttp import web

from routerd_lab.clouds.metadata_oci import metadata_app as oci_metadata
from routerd_lab.clouds.oci import Instance, OciRegion
from routerd_lab.enforce import Controls, Port
from routerd_lab.topology import Node, Site

OCI_REGION = "ap-tokyo-1"
OCI_KEY = "nrt"


class Cloud(Protocol):
    """One site's cloud. `controls` is asked after each change."""

    def api(self) -> web.Application:
        """Return the API, served over TLS."""
        ...

    def metadata(self, node: Node) -> web.Application | None:
        """Return what the metadata service says to one router, or none where there is no service."""
        ...

    def controls(self) -> Controls | None:
        """Return what the fabric enforces now, or none where it enforces nothing."""
        ...


class OciCloud:
    """Oracle Cloud Infrastructure."""

    def __init__(self, site: Site, changed: Callable[[], None]) -> None:
        self._site = site
        self._region = OciRegion(
            network=site.network,
            subnet=site.subnet,
            instances=[Instance(name=node.name, address=node.primary.address.ip) for node in site.nodes],
            region=OCI_REGION,
            key=OCI_KEY,
            on_change=changed,
        )

    def api(self) -> web.Application:
        """Return the networking, compute and auth services."""
        return self._region.app()

    def metadata(self, node: Node) -> web.Application | None:
        """Return the metadata service of an instance."""
        return oci_metadata(self._region.metadata(node.name))

    def controls(self) -> Controls | None:
        """Return the VNICs' switches and the subnet's route table."""
        ports = tuple(
            Port(
                device=node.primary.port,
                address=node.primary.address.ip,
                subnet=self._region.subnet,
                forwarding=self._region.forwarding(node.name),
            )
            for node in self._site.nodes
        )
        return Controls(ports=ports, tables={self._region.subnet: self._region.routes()})


class Bare:
    def __init__(self, site):
        self._site = site

    def api(self):
        return web.Application()

    def metadata(self, node):
        return None

    def controls(self):
        site = self._site
        if site.masquerade:
            return None
        from ipaddress import IPv4Network

        ports = tuple(
            Port(device=n.primary.port, address=n.primary.address.ip, subnet=site.name, forwarding=False)
            for n in site.nodes
        )
        return Controls(ports=ports, tables={site.name: {IPv4Network("0.0.0.0/0"): None}})


def make_cloud(site: Site, changed: Callable[[], None], guests: Mapping[int, int]) -> Cloud:
    """Return the cloud of a site; `guests` are the holders of a Proxmox VE host's guests by vmid."""
    match site.name:
        case "oci":
            return OciCloud(site, changed)
        case _:
            return Bare(site)
