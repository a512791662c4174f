"""The inputs of derivation."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Protocol

import attrs

from routerd.errors import PluginError
from routerd.model.claim import AdmittedClaim, Claim, Reflector, Topology
from routerd.model.fabric import InstanceFacts
from routerd.model.intent import Intent, Named
from routerd.model.names import LinkName, PublicKey, Ref
from routerd.model.route import RouteSet
from routerd.model.specs import (
    InterfaceSpec,
    SAMEnrollmentClientSpec,
    SAMEnrollmentPolicySpec,
    WireGuardInterfaceSpec,
)
from routerd.model.specs.devices import wireguard_device
from routerd.model.subsystem import Derivation, FabricFacts
from routerd.model.tunnel import Opening, Tunnel

ETHERNET_MTU = 1500
"""Bytes."""


class Mode(Protocol):
    """A transport as derivation asks it; each method may raise `PluginError`."""

    @property
    def encrypts(self) -> bool:
        """Say whether its tunnels have peers and keys."""

    def overhead(self, tunnel: Tunnel) -> int:
        """Return the bytes that the encapsulation adds."""

    def openings(self, tunnel: Tunnel) -> Sequence[Opening]:
        """Return what the packet filter must let in."""


class Part(Protocol):
    """A subsystem as derivation asks it."""

    @property
    def plugin(self) -> str:
        """Return the name of its plugin."""

    @property
    def tables(self) -> Collection[str]:
        """Return the names of its tables in the loop."""

    def derive(self, facts: FabricFacts) -> Derivation:
        """Return what these tables should hold; may raise `ProviderError`."""


@attrs.frozen(kw_only=True)
class Inputs:
    """The intent and the facts of the moment.

    `active` are the admitted `claims` that hold at `now`, the oldest first. `own_claims` are the leaf's
    claims as signed, by name. `reflectors` gives, for an `SAMRRSet`
    that is static, what it says; `topologies` what was fetched for one that is not.
    `learned` is none until a routing has spoken once. `routings` are the enabled routing protocols beside
    BGP. `instances` are the clouds that have answered, by the name of their profile; `public_keys` the
    keys of our own WireGuard devices by resource name. `modes` are the transports of the enabled plugins,
    `tunnel_options` the options of the tunnels of a resource by its reference. `subsystems` are those of the
    enabled plugins, `link_mtus` the MTU of each device of an `Interface`.
    """

    intent: Intent
    now: datetime
    claims: tuple[AdmittedClaim, ...] = ()
    own_claims: Mapping[str, Claim] = attrs.field(factory=dict)
    topologies: Mapping[str, Topology] = attrs.field(factory=dict)
    static_reflectors: Mapping[str, tuple[Reflector, ...]] = attrs.field(factory=dict)
    learned: RouteSet | None = None
    routings: tuple[str, ...] = ()
    instances: Mapping[str, InstanceFacts] = attrs.field(factory=dict)
    public_keys: Mapping[str, PublicKey] = attrs.field(factory=dict)
    modes: Mapping[str, Mode] = attrs.field(factory=dict)
    tunnel_options: Mapping[str, object] = attrs.field(factory=dict)
    subsystems: Mapping[str, Part] = attrs.field(factory=dict)
    link_mtus: Mapping[LinkName, int] = attrs.field(factory=dict)
    active: tuple[AdmittedClaim, ...] = attrs.field(init=False, eq=False, repr=False)

    @active.default
    def _active(self) -> tuple[AdmittedClaim, ...]:
        active = (admitted for admitted in self.claims if admitted.active(self.now))
        return tuple(sorted(active, key=lambda admitted: (admitted.admitted_at, admitted.claim.name)))

    def mode(self, name: str) -> Mode:
        """Return the transport of a mode; `PluginError` when no enabled plugin provides it."""
        found = self.modes.get(name)
        if found is None:
            raise PluginError(f"transport {name}: no enabled plugin provides it; add its plugin")
        return found

    def policy_of(self, claim: Claim) -> Named[SAMEnrollmentPolicySpec] | None:
        """Return the policy that a claim names; none when this router lacks it."""
        return self.intent.get(claim.policy_ref, SAMEnrollmentPolicySpec)

    def own_claim_list(self) -> tuple[Claim, ...]:
        """Return the claims by which this leaf joins: those that an enrollment client names."""
        names = [Ref.parse(client.spec.claim_ref).name for client in self.intent.of(SAMEnrollmentClientSpec)]
        return tuple(self.own_claims[name] for name in names if name in self.own_claims)

    def reflectors(self, rr_set: str) -> tuple[Reflector, ...] | None:
        """Return the route reflectors of `SAMRRSet/<rr_set>`; none before the first fetch."""
        name = Ref.parse(rr_set).name
        if name in self.topologies:
            return self.topologies[name].reflectors
        return self.static_reflectors.get(name)

    def device(self, interface: str) -> LinkName:
        """Return the device behind the name of an `Interface` or `WireGuardInterface` resource."""
        plain = self.intent.get(interface, InterfaceSpec)
        if plain is not None:
            return LinkName(plain.spec.ifname)
        tunnel = self.intent.get(interface, WireGuardInterfaceSpec)
        if tunnel is not None:
            return wireguard_device(tunnel.name, tunnel.spec)
        return LinkName(interface)

    def wireguard_devices(self) -> dict[LinkName, Named[WireGuardInterfaceSpec]]:
        """Return the WireGuard resources by device."""
        return {
            wireguard_device(found.name, found.spec): found
            for found in self.intent.of(WireGuardInterfaceSpec)
        }

    def wireguard_keys_known(self) -> bool:
        """Say whether the private key of every WireGuard device has been read."""
        return all(found.name in self.public_keys for found in self.wireguard_devices().values())

    def underlay_mtu(self, interface: str | None) -> int:
        """Return the MTU in bytes below a tunnel: what the file states, else that of the device.

        More than 1500 only when the file states it: what lies behind a device with larger frames seldom takes
        them.
        """
        if interface is None:
            return ETHERNET_MTU
        tunnel = self.wireguard_devices().get(self.device(interface))
        if tunnel is not None:
            return tunnel.spec.mtu
        plain = self.intent.get(interface, InterfaceSpec)
        if plain is None:
            return ETHERNET_MTU
        return plain.spec.mtu or min(self.link_mtus.get(self.device(interface), ETHERNET_MTU), ETHERNET_MTU)
