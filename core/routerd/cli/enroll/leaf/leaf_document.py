"""The resources of a new leaf, from the options of `routerd enroll leaf-config`."""

import base64
import binascii
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path

import attrs
import click

from routerd.cli.enroll.leaf.leaf_options import DEFAULT_MODE, DEFAULT_PORT, KEY_FILE, Answers
from routerd.cli.enroll.leaf.secret import Secret
from routerd.cli.share import times
from routerd.cli.share.settings import Settings
from routerd.config.leaf_file import Part, render
from routerd.leaf.wireguard_key import public_key
from routerd.model.specs import (
    BGPRouterSpec,
    InterfaceSpec,
    IPv4StaticAddressSpec,
    PeerSource,
    SAMEnrollmentClaimSpec,
    SAMEnrollmentClientSpec,
    SAMTransportProfileSpec,
    SecretSource,
    WireGuardInterfaceSpec,
)
from routerd.model.specs.common import PolicySpec, TimersSpec
from routerd.model.specs.enrollment import (
    DEFAULT_JOIN_METHOD,
    NO_JOIN_METHOD,
    ClaimBGPSpec,
    ClaimMobilitySpec,
    ClaimWireGuardSpec,
    ClientTLSSpec,
    RetryBackoffSpec,
)
from routerd.model.specs.mobility import NO_ENCRYPTION, PlacementSpec, ProfileBGPSpec
from routerd.plugins.installed import providers
from routerd.process.clock import SystemClock

ENCRYPTION_PLUGIN = "transport_wireguard"
TRANSPORT_PLUGIN, ROUTING_PLUGIN, TOKEN_PLUGIN = "transport_ipip", "bgp_ryu", "enrollment_token"
DEFAULT_PREFERENCE = 100
KEEPALIVE = 25
"""Seconds: NAT boxes forget a UDP flow after thirty, and a leaf may be behind one."""


def document(
    settings: Settings, answers: Answers, claim: SAMEnrollmentClaimSpec, secret: Secret | None
) -> str:
    """Return the file of the leaf that submits `claim`."""
    leaf, encrypted = answers.leaf_id, _is_encrypted(answers)
    about = f"The router {leaf}, a leaf of the fabric of {claim.rr_set_ref} under {claim.policy_ref}."
    parts = [
        Part(
            comment="The device with the way to the route reflectors.",
            specs={
                answers.underlay_name: InterfaceSpec(ifname=answers.underlay_ifname),
                f"{answers.underlay_name}-ipv4": _address(answers.underlay_name, answers.underlay_address),
            },
        ),
        *(_wireguard(answers) if encrypted else ()),
        *(_loopback(answers) if answers.on_loopback else ()),
        Part(
            comment="Tunnels and routing. innerPrefix is the same on every router of the fabric; each "
            "tunnel takes a /31 of it. importPolicy limits what this leaf learns.",
            specs={leaf: _profile(answers, encrypted=encrypted), "mobility-bgp": _speaker(answers)},
        ),
        Part(comment=_about_claim(answers, claim, secret), specs={leaf: claim}),
        Part(comment="The route reflectors that the leaf asks.", specs={leaf: _client(answers, secret)}),
    ]
    return render(about, leaf, _plugins(settings, answers), parts)


def _is_encrypted(answers: Answers) -> bool:
    return answers.encryption not in NO_ENCRYPTION


def _plugins(settings: Settings, answers: Answers) -> Sequence[str]:
    if settings.plugins is not None:
        return settings.plugins
    encryption = (ENCRYPTION_PLUGIN,) if _is_encrypted(answers) else ()
    return (TRANSPORT_PLUGIN, *encryption, ROUTING_PLUGIN, *_join_plugin(answers.join_method))


def _join_plugin(method: str) -> Sequence[str]:
    """Return the plugin of a join method, as this host has it installed."""
    if method in (DEFAULT_JOIN_METHOD, NO_JOIN_METHOD):
        return (TOKEN_PLUGIN,) if method == DEFAULT_JOIN_METHOD else ()
    found = providers("join-method", method)
    if len(found) != 1:
        provided = f"the plugins {' and '.join(found)} provide" if found else "no installed plugin provides"
        raise click.UsageError(f"{provided} join method {method}; name the leaf's plugins with --plugins")
    return found


def _address(interface: str, address: IPv4Interface | IPv4Address) -> IPv4StaticAddressSpec:
    return IPv4StaticAddressSpec(interface=interface, address=IPv4Interface(address))


def _wireguard(answers: Answers) -> Iterator[Part]:
    yield Part(
        comment="WireGuard towards the route reflectors. A missing key file is made at the first start; the "
        "claim below carries its public half.",
        specs={
            answers.wireguard_ifname: WireGuardInterfaceSpec(
                mode=answers.encryption,
                private_key_file=_key_file(answers),
                listen_port=answers.wireguard_listen_port,
                peers_from=(PeerSource(resource=_ref(answers.rr_set, "SAMRRSet")),),
            ),
            f"{answers.wireguard_ifname}-ipv4": _address(answers.wireguard_ifname, inner_end(answers)),
        },
    )


def _loopback(answers: Answers) -> Iterator[Part]:
    yield Part(
        comment="Addresses of the fabric that this host itself answers to.",
        specs={
            "lo-mobility": InterfaceSpec(ifname="lo"),
            **{
                "owned-service-ip" + (f"-{number}" if number > 1 else ""): _address("lo-mobility", owned)
                for number, owned in enumerate(answers.owned_address, 1)
            },
        },
    )


def _profile(answers: Answers, *, encrypted: bool) -> SAMTransportProfileSpec:
    port = DEFAULT_PORT if answers.mode == DEFAULT_MODE else None
    sources = [PeerSource(resource=_ref(answers.rr_set, "SAMRRSet"))]
    if answers.direct_peer_group:
        group = _ref(answers.direct_peer_group, "SAMPeerGroup")
        sources.append(PeerSource(resource=group, optional=True))
    preference = answers.rr_local_preference
    return SAMTransportProfileSpec(
        mode=answers.mode,
        inner_prefix=answers.inner_prefix,
        encryption=answers.encryption,
        addressing_mode="pair-stable",
        underlay_interface=answers.wireguard_ifname if encrypted else answers.underlay_name,
        local_endpoint=inner_end(answers),
        encap_sport=answers.encap_sport or port,
        encap_dport=answers.encap_dport or port,
        peers_from=tuple(sources),
        bgp=ProfileBGPSpec(
            router_ref="BGPRouter/mobility-bgp",
            peer_asn=answers.bgp_asn,
            timers_preset="fast",
            import_policy=PolicySpec(
                allowed_prefixes=answers.mobility_prefix,
                allowed_prefix_length_min=32,
                allowed_prefix_length_max=32,
                local_preference=preference if preference != DEFAULT_PREFERENCE else None,
            ),
        ),
    )


def _speaker(answers: Answers) -> BGPRouterSpec:
    return BGPRouterSpec(
        asn=answers.bgp_asn,
        router_id=answers.bgp_router_id or answers.tunnel_address,
        convergence_profile="fast",
        timers=TimersSpec(profile="fast"),
    )


def claim_of(settings: Settings, answers: Answers, secret: Secret | None) -> SAMEnrollmentClaimSpec:
    """Return the claim; one that its leaf does not sign gets the nonce and the time of its signature."""
    by_token = answers.join_method == DEFAULT_JOIN_METHOD
    once = by_token and (secret is None or secret.source is None)
    group, priority = answers.placement_group, answers.placement_priority
    wireguard = None
    if _is_encrypted(answers):
        wireguard = ClaimWireGuardSpec(
            public_key=_public_key(settings, answers, _key_file(answers)),
            endpoint=_endpoint(answers, inner_end(answers)) or "",
            allowed_ips=(f"{inner_end(answers)}/32",),
            persistent_keepalive=KEEPALIVE,
        )
    return SAMEnrollmentClaimSpec(
        policy_ref=_ref(answers.policy, "SAMEnrollmentPolicy"),
        rr_set_ref=_ref(answers.rr_set, "SAMRRSet"),
        leaf_id=answers.leaf_id,
        join_audience=answers.join_audience,
        join_nonce=(answers.join_nonce or f"{answers.leaf_id}-0001") if once else "",
        join_timestamp=(answers.join_timestamp or times.text(SystemClock().now())) if once else "",
        join_hmac=answers.join_hmac or "",
        tunnel_address=f"{answers.tunnel_address}/32",
        endpoint=str(inner_end(answers)),
        wire_guard=wireguard,
        direct_mesh=bool(answers.direct_peer_group),
        placement=PlacementSpec(group=group, priority=priority) if group and priority else None,
        mobility=ClaimMobilitySpec(owned_addresses=tuple(f"{each}/32" for each in answers.owned_address)),
        bgp=ClaimBGPSpec(asn=answers.bgp_asn, router_id=str(answers.bgp_router_id or answers.tunnel_address)),
    )


def _about_claim(answers: Answers, claim: SAMEnrollmentClaimSpec, secret: Secret | None) -> str:
    words = ["What this leaf asks for."]
    if claim.join_nonce and not claim.join_hmac:
        words.append(
            "Not signed yet: `routerd enroll sign --config THIS-FILE --secret-file FILE` prints the "
            "joinHMAC to add here. Every later change of the claim needs a new signature."
        )
    elif answers.join_method not in (DEFAULT_JOIN_METHOD, NO_JOIN_METHOD):
        words.append(f"The leaf proves each submission by join method {answers.join_method}.")
    elif secret is not None and secret.source is not None:
        words.append("The leaf signs the claim itself, and renews it before it ends.")
    if not claim.mobility.owned_addresses:
        words.append(
            "Addresses behind this leaf that the whole fabric may reach go here as "
            "mobility: {ownedAddresses: [ADDRESS/32]}."
        )
    if claim.wire_guard is not None and not claim.wire_guard.endpoint:
        words.append("wireGuard has no endpoint: this site is behind NAT, so the leaf dials.")
    return " ".join(words)


def _client(answers: Answers, secret: Secret | None) -> SAMEnrollmentClientSpec:
    return SAMEnrollmentClientSpec(
        claim_ref=f"SAMEnrollmentClaim/{answers.leaf_id}",
        bootstrap_endpoints=answers.bootstrap_endpoint,
        control_api_token_from=_control_token(answers),
        control_api_tls=_control_tls(answers),
        state_ttl_refresh_before=answers.state_ttl_refresh_before,
        retry_backoff=RetryBackoffSpec(min=answers.retry_min, max=answers.retry_max),
        join_token_from=_absolute(secret.source)
        if secret is not None and secret.source is not None
        else None,
        join_method=answers.join_method,
        join_options=answers.join_options,
    )


def _key_file(answers: Answers) -> Path:
    return (answers.wireguard_private_key_file or Path(KEY_FILE.format(answers.wireguard_ifname))).absolute()


def inner_end(answers: Answers) -> IPv4Address:
    """Return the end of the tunnels at this leaf: with WireGuard its address inside of it."""
    encrypted = _is_encrypted(answers) and answers.wireguard_address is not None
    inner: IPv4Address = answers.wireguard_address if encrypted else answers.local_endpoint
    return inner


def _public_key(settings: Settings, answers: Answers, file: Path) -> str:
    given: str | None = answers.wireguard_public_key
    if given is None:
        reading = public_key(
            file,
            encryption=answers.encryption,
            plugins=[ENCRYPTION_PLUGIN] if settings.plugins is None else settings.plugins,
            make=answers.wireguard_make_key,
            log=settings.quiet_log(),
        )
        return settings.run(reading)
    if answers.wireguard_make_key:
        raise click.UsageError("give one of --wireguard-public-key and --wireguard-make-key")
    try:
        right = len(base64.b64decode(given, validate=True)) == 32
    except binascii.Error:
        right = False
    if not right:
        raise click.UsageError("--wireguard-public-key is not a WireGuard key (44 characters of base64)")
    return given


def _endpoint(answers: Answers, inner: IPv4Address) -> str | None:
    given = answers.wireguard_endpoint
    if given is None:
        # Files of earlier programs give the inner address as --local-endpoint.
        outer = answers.local_endpoint if answers.local_endpoint != inner else answers.underlay_address.ip
        return f"{outer}:{answers.wireguard_listen_port}"
    if given.lower() in ("", "none"):
        return None
    return given if ":" in given else f"{given}:{answers.wireguard_listen_port}"


def _control_token(answers: Answers) -> SecretSource | None:
    file, env = answers.control_api_token_file, answers.control_api_token_env
    if file is not None and env is not None:
        raise click.UsageError("give one of --control-api-token-file and --control-api-token-env")
    return _absolute(SecretSource(file=file, env=env)) if file is not None or env is not None else None


def _control_tls(answers: Answers) -> ClientTLSSpec | None:
    made = ClientTLSSpec(
        ca_file=_whole(answers.control_api_ca_file),
        cert_file=_whole(answers.control_api_client_cert_file),
        key_file=_whole(answers.control_api_client_key_file),
        server_name=answers.control_api_server_name,
        insecure_skip_verify=answers.control_api_insecure_skip_verify,
    )
    return made if made != ClientTLSSpec() else None


def _ref(name: str, kind: str) -> str:
    return f"{kind}/{name.strip().removeprefix(f'{kind}/')}"


def _whole(file: Path | None) -> Path | None:
    return file.absolute() if file is not None else None


def _absolute(source: SecretSource) -> SecretSource:
    # The daemon does not start where the command was typed.
    return attrs.evolve(source, file=_whole(source.file))
