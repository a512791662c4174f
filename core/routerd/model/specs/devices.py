"""The network device of a resource."""

from routerd.model.names import LinkName
from routerd.model.specs.hybrid import TunnelInterfaceSpec
from routerd.model.specs.net import InterfaceSpec, WireGuardInterfaceSpec


def device_of(name: str, spec: object) -> LinkName | None:
    """Return the device of the resource `name`, none for a kind that has none."""
    match spec:
        case InterfaceSpec():
            return LinkName(spec.ifname)
        case WireGuardInterfaceSpec():
            return wireguard_device(name, spec)
        case TunnelInterfaceSpec():
            return LinkName(name)
        case _:
            return None


def wireguard_device(name: str, spec: WireGuardInterfaceSpec) -> LinkName:
    """Return the device of the WireGuardInterface `name`: its `ifname`, else its own name."""
    return LinkName(spec.ifname or name)
