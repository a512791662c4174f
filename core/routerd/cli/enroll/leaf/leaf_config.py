"""`routerd enroll leaf-config`: the whole file of a leaf from a few options."""

import asyncio
import base64
import binascii
import os
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path
from types import SimpleNamespace

import attrs
import click

from routerd import config
from routerd.admission.form import check_form
from routerd.cli.enroll.leaf.secret import Secret, with_secret
from routerd.cli.enroll.leaf.values import DURATION, HOST, INTERFACE, NETWORK, Many, joined
from routerd.cli.share import times
from routerd.cli.share.options import all_of
from routerd.cli.share.settings import Settings, with_settings
from routerd.config.leaf_file import Part, render
from routerd.errors import ConfigError, ControlError, EnrollmentRefused
from routerd.leaf import signing as claims
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
from routerd.model.specs.claim_codec import claim_from_spec
from routerd.model.specs.common import PolicySpec, TimersSpec
from routerd.model.specs.enrollment import (
    ClaimBGPSpec,
    ClaimMobilitySpec,
    ClaimWireGuardSpec,
    ClientTLSSpec,
    RetryBackoffSpec,
)
from routerd.model.specs.mobility import MAX_PRIORITY, NO_ENCRYPTION, PlacementSpec, ProfileBGPSpec
from routerd.model.specs.net import DEFAULT_ENCRYPTION
from routerd.plugins.check import prepare_text
from routerd.process.clock import SystemClock

DEFAULT_MODE = "fou"
DEFAULT_PORT = 5555
ENCRYPTION_PLUGIN = "transport_wireguard"
PLUGINS = ("transport_ipip", "bgp_ryu", "enrollment_token")
DEFAULT_PREFERENCE = 100
KEEPALIVE = 25
"""Seconds: NAT boxes forget a UDP flow after thirty, and a leaf may be behind one."""

KEY_FILE = "/var/lib/routerd/secrets/{}.key"

_FILE = click.Path(path_type=Path, dir_okay=False)
_PORT = click.IntRange(1, 65535)
_DEFAULT_PORT = f"[default: {DEFAULT_PORT} with {DEFAULT_MODE}]"

Answers = SimpleNamespace
"""The values of the options below, by their names; each option says its type."""

_REQUIRED = (
    click.option("--leaf-id", required=True, metavar="NAME", help="The leaf's name in the fabric."),
    click.option(
        "--underlay-ifname",
        required=True,
        metavar="DEVICE",
        help="The device with the way to the reflectors.",
    ),
    click.option(
        "--underlay-address",
        required=True,
        type=INTERFACE,
        help="The address of the device, with prefix length.",
    ),
    click.option(
        "--local-endpoint",
        required=True,
        type=HOST,
        help="Address of this leaf for the tunnels of reflectors; with WireGuard the one they dial.",
    ),
    click.option(
        "--endpoint-prefix",
        required=True,
        multiple=True,
        type=Many(NETWORK),
        callback=joined,
        help="endpointPrefixes of the policy; the command warns of an endpoint outside of them.",
    ),
    click.option(
        "--inner-prefix", required=True, type=NETWORK, help="innerPrefix, the same on every router."
    ),
    click.option("--tunnel-address", required=True, type=HOST, help="The leaf's own address in the fabric."),
    click.option(
        "--mobility-prefix",
        required=True,
        multiple=True,
        type=Many(NETWORK),
        callback=joined,
        help="Prefixes of the fabric's addresses.",
    ),
    click.option("--rr-set", required=True, metavar="NAME", help="rrSetRef of the policy."),
    click.option("--policy", required=True, metavar="NAME", help="The policy at the route reflector."),
    click.option("--join-audience", required=True, metavar="TEXT", help="joinAudience of the policy."),
    click.option(
        "--bootstrap-endpoint",
        required=True,
        multiple=True,
        type=Many(name="url,..."),
        callback=joined,
        help="The enrollment URL of each route reflector.",
    ),
)
_CLAIM = (
    click.option(
        "--owned-address",
        multiple=True,
        type=Many(HOST),
        callback=joined,
        help="An address of this site that the whole fabric may reach.",
    ),
    click.option(
        "--on-loopback",
        is_flag=True,
        help="The owned addresses are this host's own: put them on lo. Without it they are other machines'.",
    ),
    click.option(
        "--placement-group",
        metavar="NAME",
        help="The site's name in placementGroups of the policy, where it has several leaves.",
    ),
    click.option(
        "--placement-priority",
        type=click.IntRange(1, MAX_PRIORITY),
        help="Priority of this leaf; the leaf with the lowest one is active.",
    ),
    click.option(
        "--direct-peer-group",
        metavar="NAME",
        help="For existing files; routerd does not make direct tunnels.",
    ),
    click.option("--join-nonce", metavar="TEXT", help="For a claim signed once.  [default: LEAF-0001]"),
    click.option("--join-timestamp", metavar="TIME", help="Time of the signature.  [default: now]"),
    click.option("--join-hmac", metavar="HEX", help="A signature that was made elsewhere."),
)
_TUNNEL = (
    click.option(
        "--mode",
        metavar="NAME",
        default=DEFAULT_MODE,
        show_default=True,
        help="The transport of the tunnels; name the plugin of another one with --plugins.",
    ),
    click.option(
        "--encryption",
        metavar="NAME",
        default="none",
        show_default=True,
        help=f"The encrypting transport around the tunnels, such as {DEFAULT_ENCRYPTION}.",
    ),
    click.option("--encap-sport", type=_PORT, help=f"Source UDP port.  {_DEFAULT_PORT}"),
    click.option("--encap-dport", type=_PORT, help=f"UDP port.  {_DEFAULT_PORT}"),
    click.option(
        "--underlay-name", default="private-wan", show_default=True, help="Name of the device in the file."
    ),
    click.option("--wireguard-ifname", default="wg-sam", show_default=True, help="WireGuard's device."),
    click.option(
        "--wireguard-address", type=HOST, help="Our address inside WireGuard.  [default: --local-endpoint]"
    ),
    click.option(
        "--wireguard-endpoint",
        metavar="ADDRESS:PORT|none",
        help="Where reflectors reach our WireGuard; none behind NAT.  [default: --local-endpoint, else the "
        "underlay's address]",
    ),
    click.option("--wireguard-listen-port", type=_PORT, default=51820, show_default=True, help="UDP port."),
    click.option(
        "--wireguard-private-key-file", type=_FILE, help=f"[default: {KEY_FILE.format('WIREGUARD-IFNAME')}]"
    ),
    click.option("--wireguard-public-key", metavar="KEY", help="The public key, when the file is elsewhere."),
    click.option("--wireguard-make-key", is_flag=True, help="Make the key file if it does not exist."),
)
_ROUTING = (
    click.option("--bgp-asn", type=click.IntRange(1, 2**32 - 1), default=64577, show_default=True),
    click.option("--bgp-router-id", type=HOST, help="[default: --tunnel-address]"),
    click.option("--rr-local-preference", type=click.IntRange(0), default=100, show_default=True),
    click.option(
        "--direct-local-preference",
        type=click.IntRange(0),
        default=200,
        show_default=True,
        help="For existing scripts; routerd does not make direct tunnels.",
    ),
)
_CLIENT = (
    click.option(
        "--state-ttl-refresh-before",
        type=DURATION,
        default="10m",
        show_default=True,
        help="Time before its end at which the claim is renewed.",
    ),
    click.option("--retry-min", type=DURATION, default="10s", show_default=True, help="Shortest pause."),
    click.option("--retry-max", type=DURATION, default="15m", show_default=True, help="Longest pause."),
    click.option("--control-api-token-file", type=_FILE, help="Bearer token of the listeners."),
    click.option("--control-api-token-env", metavar="NAME", help="The environment variable that holds it."),
    click.option("--control-api-ca-file", type=_FILE, help="Authority of the listeners' certificates."),
    click.option("--control-api-client-cert-file", type=_FILE, help="Our certificate."),
    click.option("--control-api-client-key-file", type=_FILE, help="Its key."),
    click.option("--control-api-server-name", metavar="NAME", help="The name in their certificates."),
    click.option("--control-api-insecure-skip-verify", is_flag=True, help="Do not check certificates."),
)
_OUTPUT = (
    click.option("-o", "--output", type=_FILE, help="Write this file (mode 0600) instead of printing."),
    click.option("--force", is_flag=True, help="With -o: replace an existing file."),
)


@click.command("leaf-config")
@all_of((*_REQUIRED, *_CLAIM, *_TUNNEL, *_ROUTING, *_CLIENT, *_OUTPUT))
@with_secret
@with_settings
def command(
    settings: Settings, *, secret: Secret | None, output: Path | None, force: bool, **options: object
) -> None:
    """Print a complete configuration file for a leaf.

    With --secret-file or --secret-env the leaf is given the join token, by reference, and signs and
    renews its claim itself. With --secret the claim is signed here and now, with --join-hmac it was
    signed elsewhere; without any of them `routerd enroll sign` signs it afterwards. A claim that is
    signed once cannot be renewed.

    Options that may be repeated also take a list with commas.
    """
    answers = Answers(**options)
    _check_answers(answers, secret)
    claim = _claim(settings, answers, secret)
    text = _render(settings, answers, claim, secret)
    if claim.join_nonce and not claim.join_hmac and secret is not None:
        _check(text)
        claim = _signed(settings, claim, text, secret)
        text = _render(settings, answers, claim, secret)
    _check(text)
    for warning in _warnings(answers, claim):
        click.echo(f"warning: {warning}", err=True)
    if output is None:
        click.echo(text, nl=False)
    else:
        _write(output, text, force=force)
        click.echo(f"{output}: written; next: routerd validate --config {output}", err=True)


# --- from answers to the file -------------------------------------------------------------------------


def _check_answers(answers: Answers, secret: Secret | None) -> None:
    if answers.join_hmac is not None and secret is not None:
        raise click.UsageError("--join-hmac is a signature already; leave the secret out")
    once = answers.join_nonce is not None or answers.join_timestamp is not None
    if secret is not None and secret.source is not None and once:
        raise click.UsageError(
            "--join-nonce and --join-timestamp are for a claim that is signed once; with --secret-file or "
            "--secret-env the leaf signs its claim itself"
        )
    if (answers.placement_group is None) != (answers.placement_priority is None):
        raise click.UsageError("--placement-group and --placement-priority go together")
    if answers.placement_group is not None and not answers.owned_address:
        raise click.UsageError(
            "--placement-group needs --owned-address: the addresses that the site's leaves share"
        )


def _render(
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
        Part(comment=_about_claim(claim, secret), specs={leaf: claim}),
        Part(comment="The route reflectors that the leaf asks.", specs={leaf: _client(answers, secret)}),
    ]
    return render(about, leaf, _plugins(settings, answers), parts)


def _is_encrypted(answers: Answers) -> bool:
    return answers.encryption not in NO_ENCRYPTION


def _plugins(settings: Settings, answers: Answers) -> Sequence[str]:
    if settings.plugins is not None:
        return settings.plugins
    return (PLUGINS[0], ENCRYPTION_PLUGIN, *PLUGINS[1:]) if _is_encrypted(answers) else PLUGINS


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
            f"{answers.wireguard_ifname}-ipv4": _address(answers.wireguard_ifname, _inner(answers)),
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
        local_endpoint=_inner(answers),
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


def _claim(settings: Settings, answers: Answers, secret: Secret | None) -> SAMEnrollmentClaimSpec:
    """Return the claim; one that its leaf does not sign gets the nonce and the time of its signature."""
    once = secret is None or secret.source is None
    group, priority = answers.placement_group, answers.placement_priority
    wireguard = None
    if _is_encrypted(answers):
        wireguard = ClaimWireGuardSpec(
            public_key=_public_key(settings, answers, _key_file(answers)),
            endpoint=_endpoint(answers, _inner(answers)) or "",
            allowed_ips=(f"{_inner(answers)}/32",),
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
        endpoint=str(_inner(answers)),
        wire_guard=wireguard,
        direct_mesh=bool(answers.direct_peer_group),
        placement=PlacementSpec(group=group, priority=priority) if group and priority else None,
        mobility=ClaimMobilitySpec(owned_addresses=tuple(f"{each}/32" for each in answers.owned_address)),
        bgp=ClaimBGPSpec(asn=answers.bgp_asn, router_id=str(answers.bgp_router_id or answers.tunnel_address)),
    )


def _about_claim(claim: SAMEnrollmentClaimSpec, secret: Secret | None) -> str:
    words = ["What this leaf asks for."]
    if claim.join_nonce and not claim.join_hmac:
        words.append(
            "Not signed yet: `routerd enroll sign --config THIS-FILE --secret-file FILE` prints the "
            "joinHMAC to add here. Every later change of the claim needs a new signature."
        )
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
    )


def _key_file(answers: Answers) -> Path:
    return (answers.wireguard_private_key_file or Path(KEY_FILE.format(answers.wireguard_ifname))).absolute()


def _inner(answers: Answers) -> IPv4Address:
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
        return asyncio.run(reading)
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


def _signed(
    settings: Settings, claim: SAMEnrollmentClaimSpec, text: str, secret: Secret
) -> SAMEnrollmentClaimSpec:
    """Return the claim with its signature, by the join method of the leaf's own plugins."""
    prepared = prepare_text(text, file="leaf-config")
    filed = claims.filed_claim(prepared, claim.leaf_id)
    signing = claims.sign(prepared, filed, secret.resolve(), settings.quiet_log())
    return attrs.evolve(claim, join_hmac=asyncio.run(signing).claim.join_hmac)


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


# --- checking and writing --------------------------------------------------------------------------------


def _check(text: str) -> None:
    """Raise the error that a route reflector or `routerd validate` would raise for the file."""
    try:
        configuration = config.load_text(text, file="leaf-config")
    except ConfigError as error:
        raise ConfigError(attrs.evolve(problem, line=0) for problem in error.problems) from error
    for resource in configuration.of(SAMEnrollmentClaimSpec):
        try:
            check_form(claim_from_spec(resource.id.name, resource.spec))
        except EnrollmentRefused as error:
            raise ConfigError.single("leaf-config", str(error)) from error


def _warnings(answers: Answers, claim: SAMEnrollmentClaimSpec) -> Iterator[str]:
    inner = _inner(answers)
    if not any(inner in prefix for prefix in answers.endpoint_prefix):
        listed = ", ".join(map(str, answers.endpoint_prefix))
        yield f"endpoint {inner} is outside of {listed}; the route reflector will refuse it"
    for owned in answers.owned_address:
        if not any(owned in prefix for prefix in answers.mobility_prefix):
            yield f"owned address {owned} is outside of every mobility prefix; the reflector may refuse it"
    if claim.direct_mesh or answers.direct_local_preference != 200:
        yield "direct tunnels: routerd does not make them, whatever the file says"
    if claim.join_nonce and not claim.join_hmac:
        yield "the claim is not signed; give a secret, or run `routerd enroll sign`"
    if answers.on_loopback and not answers.owned_address:
        yield "--on-loopback has no address to add; give --owned-address"
    for url in answers.bootstrap_endpoint:
        if url.startswith("http://") and (answers.control_api_token_file or answers.control_api_token_env):
            yield f"{url}: the bearer token is sent in the clear; use https"


def _write(path: Path, text: str, *, force: bool) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        handle = os.open(draft if force else path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        if force:
            draft.replace(path)
    except FileExistsError as error:
        raise ControlError(f"{path}: exists, not changed; to replace it, use --force") from error
    except OSError as error:
        raise ControlError(f"{path}: not written; {error.strerror}") from error
