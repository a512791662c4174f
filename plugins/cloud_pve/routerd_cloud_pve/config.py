"""Options of the fabric kind `pve`."""

import re
from ipaddress import IPv4Address
from pathlib import Path

import attrs

API_PORT = 8006

# The names that Linux gives devices, without those that `ip` could take for an option.
_DEVICE = re.compile(r"[A-Za-z0-9_][^\s/:]{0,14}")


@attrs.frozen(kw_only=True)
class Guest:
    """A client: the guest's number, and its device on the site's network (`ens19`).

    Without `device` the guest's own table decides which device leads to the gateway.
    """

    vmid: int
    device: str | None = None

    def __attrs_post_init__(self) -> None:
        if self.device is not None and not _DEVICE.fullmatch(self.device):
            raise ValueError(f'device: "{self.device}" is not the name of a network device')


@attrs.frozen(kw_only=True)
class PveOptions:
    """`CloudProviderProfile.spec.options` when the provider is `pve`.

    `host` is the name of the API as its certificate has it. `tokenFile` holds an API token in one
    line, `USER@REALM!NAME=UUID`. `caFile` is the certificate authority of a private certificate.
    `gateway` is our own address on the site's network, and the guests' routes lead to it. `vmid` is the
    guest on which routerd runs; with it routerd switches off the IP filter of that guest's firewall,
    which drops what the guest forwards.
    """

    host: str
    token_file: Path
    gateway: IPv4Address
    guests: tuple[Guest, ...] = ()
    port: int = API_PORT
    ca_file: Path | None = None
    vmid: int | None = None

    def __attrs_post_init__(self) -> None:
        if not self.host or "/" in self.host or "@" in self.host:
            raise ValueError(f'host: "{self.host}" is not a host name; write pve.example.org, not a URL')
        if not 0 < self.port < 65536:
            raise ValueError(f"port: {self.port} is not a port; Proxmox VE listens on {API_PORT}")
        numbers = [guest.vmid for guest in self.guests]
        for number in numbers:
            if numbers.count(number) > 1:
                raise ValueError(f"guests: vmid {number} is listed twice; list each guest once")
        if self.vmid in numbers:
            raise ValueError(f"guests: vmid {self.vmid} is the router itself; list only its clients")
