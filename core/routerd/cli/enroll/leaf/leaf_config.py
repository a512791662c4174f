"""`routerd enroll leaf-config`: the whole file of a leaf from a few options."""

from __future__ import annotations

import asyncio
import base64
import binascii
import os
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path
from typing import Literal

import attrs
import click

from routerd import config
from routerd.admission.form import check_form
from routerd.cli.enroll.leaf.secret import Secret, with_secret
from routerd.cli.enroll.leaf.values import DURATION, HOST, INTERFACE, NETWORK, Many, joined
from routerd.cli.share import times
from routerd.cli.share.settings import Settings, with_settings
from routerd.config.leaf_file import LeafFile, LeafSignature, LeafWireGuard, render
from routerd.errors import ConfigError, ControlError, EnrollmentRefused
from routerd.leaf import signing as claims
from routerd.leaf.wireguard_key import public_key
from routerd.model.specs import SAMEnrollmentClaimSpec, SecretSource
from routerd.model.specs.claim_codec import claim_from_spec
from routerd.model.specs.mobility import MAX_PRIORITY, ClientTLSSpec, PlacementSpec, RetryBackoffSpec
from routerd.plugins.check import prepare_text
from routerd.process.clock import SystemClock

WIREGUARD_PLUGIN = "transport_wireguard"
PLUGINS = ("transport_ipip", "bgp_ryu", "enrollment_token")
KEY_FILE = "/var/lib/routerd/secrets/{}.key"

_FILE = click.Path(path_type=Path, dir_okay=False)
_PORT = click.IntRange(1, 65535)


@attrs.frozen(kw_only=True)
class Answers:
    """The options, by their names."""

    leaf_id: str
    underlay_ifname: str
    underlay_name: str
    underlay_address: IPv4Interface
    local_endpoint: IPv4Address
    endpoint_prefix: tuple[IPv4Network, ...]
    inner_prefix: IPv4Network
    tunnel_address: IPv4Address
    mobility_prefix: tuple[IPv4Network, ...]
    owned_address: tuple[IPv4Address, ...]
    on_loopback: bool
    placement_group: str | None
    placement_priority: int | None
    rr_set: str
    policy: str
    join_audience: str
    bootstrap_endpoint: tuple[str, ...]
    direct_peer_group: str | None
    join_nonce: str | None
    join_timestamp: str | None
    join_hmac: str | None
    bgp_asn: int
    bgp_router_id: IPv4Address | None
    rr_local_preference: int
    direct_local_preference: int
    mode: Literal["ipip", "fou", "gre"]
    encryption: Literal["none", "wireguard"]
    encap_sport: int
    encap_dport: int
    wireguard_ifname: str
    wireguard_address: IPv4Address | None
    wireguard_endpoint: str | None
    wireguard_listen_port: int
    wireguard_private_key_file: Path | None
    wireguard_public_key: str | None
    wireguard_make_key: bool
    state_ttl_refresh_before: timedelta
    retry_min: timedelta
    retry_max: timedelta
    control_api_token_file: Path | None
    control_api_token_env: str | None
    control_api_ca_file: Path | None
    control_api_client_cert_file: Path | None
    control_api_client_key_file: Path | None
    control_api_server_name: str | None
    control_api_insecure_skip_verify: bool


_REQUIRED = (
    click.option("--leaf-id", required=True, metavar="NAME", help="The leaf's name in the fabric."),
    click.option("--underlay-ifname", required=True, metavar="DEVICE", help="The device that leads out."),
    click.option("--underlay-address", required=True, type=INTERFACE, help="Its address with its length."),
    click.option(
        "--local-endpoint",
        required=True,
        type=HOST,
        help="The address of this leaf that reflectors send tunnels to; with WireGuard the one they dial.",
    ),
    click.option(
        "--endpoint-prefix",
        required=True,
        multiple=True,
        type=Many(NETWORK),
        callback=joined,
        help="endpointPrefixes of the policy, to warn of an endpoint outside of them.",
    ),
    click.option("--inner-prefix", required=True, type=NETWORK, help="innerPrefix, as on every router."),
    click.option("--tunnel-address", required=True, type=HOST, help="The leaf's own address in the fabric."),
    click.option(
        "--mobility-prefix",
        required=True,
        multiple=True,
        type=Many(NETWORK),
        callback=joined,
        help="Where the addresses of the fabric lie.",
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
        help="Which of them this one is; the lowest number is active.",
    ),
    click.option("--direct-peer-group", metavar="NAME", help="Kept for files; direct tunnels are not made."),
    click.option("--join-nonce", metavar="TEXT", help="For a claim signed once.  [default: LEAF-0001]"),
    click.option("--join-timestamp", metavar="TIME", help="When it was signed.  [default: now]"),
    click.option("--join-hmac", metavar="HEX", help="A signature that was made elsewhere."),
)
_TUNNEL = (
    click.option(
        "--mode", type=click.Choice(["ipip", "fou", "gre"]), default="fou", show_default=True, help="Tunnels."
    ),
    click.option(
        "--encryption",
        type=click.Choice(["none", "wireguard"]),
        default="none",
        show_default=True,
        help="What the tunnels run inside of.",
    ),
    click.option("--encap-sport", type=_PORT, default=5555, show_default=True, help="fou: source port."),
    click.option("--encap-dport", type=_PORT, default=5555, show_default=True, help="fou: port."),
    click.option("--underlay-name", default="private-wan", show_default=True, help="Its name in the file."),
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
    click.option(
        "--wireguard-public-key", metavar="KEY", help="Its public half, where the file is not here."
    ),
    click.option("--wireguard-make-key", is_flag=True, help="Make the key file if it is not there yet."),
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
        help="Kept for scripts; direct tunnels are not made.",
    ),
)
_CLIENT = (
    click.option(
        "--state-ttl-refresh-before",
        type=DURATION,
        default="10m",
        show_default=True,
        help="How long before its end the claim is renewed.",
    ),
    click.option("--retry-min", type=DURATION, default="10s", show_default=True, help="Shortest pause."),
    click.option("--retry-max", type=DURATION, default="15m", show_default=True, help="Longest pause."),
    click.option("--control-api-token-file", type=_FILE, help="Bearer token of the listeners."),
    click.option("--control-api-token-env", metavar="NAME", help="The variable that holds it."),
    click.option("--control-api-ca-file", type=_FILE, help="Authority of the listeners' certificates."),
    click.option("--control-api-client-cert-file", type=_FILE, help="Our certificate."),
    click.option("--control-api-client-key-file", type=_FILE, help="Its key."),
    click.option("--control-api-server-name", metavar="NAME", help="The name in their certificates."),
    click.option("--control-api-insecure-skip-verify", is_flag=True, help="Check no certificate."),
)
_OUTPUT = (
    click.option("-o", "--output", type=_FILE, help="Write this file (mode 0600) instead of printing."),
    click.option("--force", is_flag=True, help="With -o: replace a file that is there."),
)


def _with_options(function: Callable[..., None]) -> Callable[..., None]:
    for option in reversed((*_REQUIRED, *_CLAIM, *_TUNNEL, *_ROUTING, *_CLIENT, *_OUTPUT)):
        function = option(function)
    return function


@click.command("leaf-config")
@_with_options
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
    answers = Answers(**options)  # type: ignore[arg-type]  # click has converted each to its type
    leaf = _leaf(settings, answers, secret)
    text = render(leaf)
    if leaf.signature is not None and not leaf.signature.hmac and secret is not None:
        leaf = _signed(settings, leaf, text, secret)
        text = render(leaf)
    _check(text)
    for warning in _warnings(answers, leaf):
        click.echo(f"warning: {warning}", err=True)
    if output is None:
        click.echo(text, nl=False)
    else:
        _write(output, text, force=force)
        click.echo(f"{output}: written; next: routerd validate --config {output}", err=True)


# --- from answers to the file -------------------------------------------------------------------------


def _leaf(settings: Settings, answers: Answers, secret: Secret | None) -> LeafFile:
    if answers.join_hmac is not None and secret is not None:
        raise click.UsageError("--join-hmac is a signature already; leave the secret out")
    joins_itself = secret is not None and secret.source is not None
    if joins_itself and (answers.join_nonce is not None or answers.join_timestamp is not None):
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
    encrypted = answers.encryption == "wireguard"
    plugins = (PLUGINS[0], WIREGUARD_PLUGIN, *PLUGINS[1:]) if encrypted else PLUGINS
    return LeafFile(
        leaf_id=answers.leaf_id,
        plugins=settings.plugins if settings.plugins is not None else plugins,
        underlay_name=answers.underlay_name,
        underlay_ifname=answers.underlay_ifname,
        underlay_address=answers.underlay_address,
        local_endpoint=answers.local_endpoint,
        inner_prefix=answers.inner_prefix,
        tunnel_address=answers.tunnel_address,
        mobility_prefixes=answers.mobility_prefix,
        owned_addresses=answers.owned_address,
        on_loopback=answers.on_loopback,
        placement=PlacementSpec(group=answers.placement_group, priority=answers.placement_priority)
        if answers.placement_group is not None and answers.placement_priority is not None
        else None,
        rr_set=_bare(answers.rr_set, "SAMRRSet"),
        policy=_bare(answers.policy, "SAMEnrollmentPolicy"),
        join_audience=answers.join_audience,
        endpoints=answers.bootstrap_endpoint,
        mode=answers.mode,
        encap_sport=answers.encap_sport,
        encap_dport=answers.encap_dport,
        asn=answers.bgp_asn,
        router_id=answers.bgp_router_id or answers.tunnel_address,
        rr_local_preference=answers.rr_local_preference,
        peer_group=_bare(answers.direct_peer_group, "SAMPeerGroup") if answers.direct_peer_group else None,
        wireguard=_wireguard(settings, answers) if encrypted else None,
        join_token=_absolute(secret.source) if secret is not None and secret.source is not None else None,
        signature=None if joins_itself else _signature(answers),
        refresh_before=answers.state_ttl_refresh_before,
        retry=RetryBackoffSpec(min=answers.retry_min, max=answers.retry_max),
        control_token=_control_token(answers),
        control_tls=_control_tls(answers),
    )


def _wireguard(settings: Settings, answers: Answers) -> LeafWireGuard:
    file = answers.wireguard_private_key_file or Path(KEY_FILE.format(answers.wireguard_ifname))
    address = answers.wireguard_address or answers.local_endpoint
    return LeafWireGuard(
        ifname=answers.wireguard_ifname,
        address=address,
        listen_port=answers.wireguard_listen_port,
        private_key_file=file.absolute(),
        public_key=_public_key(settings, answers, file.absolute()),
        endpoint=_endpoint(answers, address),
    )


def _public_key(settings: Settings, answers: Answers, file: Path) -> str:
    given = answers.wireguard_public_key
    if given is None:
        reading = public_key(
            file, plugin=WIREGUARD_PLUGIN, make=answers.wireguard_make_key, log=settings.quiet_log()
        )
        return asyncio.run(reading)
    if answers.wireguard_make_key:
        raise click.UsageError("give one of --wireguard-public-key and --wireguard-make-key")
    try:
        right = len(base64.b64decode(given, validate=True)) == 32
    except binascii.Error:
        right = False
    if not right:
        raise click.UsageError("--wireguard-public-key is no WireGuard key (44 characters of base64)")
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


def _signature(answers: Answers) -> LeafSignature:
    return LeafSignature(
        nonce=answers.join_nonce or f"{answers.leaf_id}-0001",
        timestamp=answers.join_timestamp or times.text(SystemClock().now()),
        hmac=answers.join_hmac or "",
    )


def _signed(settings: Settings, leaf: LeafFile, text: str, secret: Secret) -> LeafFile:
    """Return the leaf with the signature of its claim, by the join method of its own plugins."""
    _check(text)
    prepared = prepare_text(text, file="leaf-config")
    filed = claims.filed_claim(prepared, leaf.leaf_id)
    signing = claims.sign(prepared, filed.claim, secret.resolve(), settings.quiet_log())
    hmac = asyncio.run(signing).claim.join_hmac
    return attrs.evolve(
        leaf, signature=attrs.evolve(leaf.signature, hmac=hmac) if leaf.signature is not None else None
    )


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


def _bare(ref: str, kind: str) -> str:
    return ref.strip().removeprefix(f"{kind}/")


def _whole(file: Path | None) -> Path | None:
    return file.absolute() if file is not None else None


def _absolute(source: SecretSource) -> SecretSource:
    # The daemon does not start where the command was typed.
    return attrs.evolve(source, file=_whole(source.file))


# --- checking and writing --------------------------------------------------------------------------------


def _check(text: str) -> None:
    """Raise what a route reflector or `routerd validate` would say of the file, in terms of its fields."""
    try:
        configuration = config.load_text(text, file="leaf-config")
    except ConfigError as error:
        raise ConfigError(attrs.evolve(problem, line=0) for problem in error.problems) from error
    for resource in configuration.of(SAMEnrollmentClaimSpec):
        try:
            check_form(claim_from_spec(resource.id.name, resource.spec))
        except EnrollmentRefused as error:
            raise ConfigError.single("leaf-config", str(error)) from error


def _warnings(answers: Answers, leaf: LeafFile) -> Iterator[str]:
    inner = leaf.wireguard.address if leaf.wireguard is not None else leaf.local_endpoint
    if not any(inner in prefix for prefix in answers.endpoint_prefix):
        listed = ", ".join(map(str, answers.endpoint_prefix))
        yield f"endpoint {inner} is outside of {listed}: the route reflector will refuse it"
    for owned in leaf.owned_addresses:
        if not any(owned in prefix for prefix in leaf.mobility_prefixes):
            yield f"owned address {owned} is outside of every mobility prefix: the reflector may refuse it"
    if leaf.peer_group is not None or answers.direct_local_preference != 200:
        yield "routerd makes no direct tunnels between leaves, whatever the file says"
    if leaf.signature is not None and not leaf.signature.hmac:
        yield "the claim is not signed: give a secret, or sign it with `routerd enroll sign`"
    if leaf.on_loopback and not leaf.owned_addresses:
        yield "--on-loopback has nothing to put there: no --owned-address was given"
    for url in leaf.endpoints:
        if re.match("http://", url) and leaf.control_token is not None:
            yield f"{url}: the bearer token goes over the wire in the clear"


def _write(path: Path, text: str, *, force: bool) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        handle = os.open(draft if force else path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        if force:
            draft.replace(path)
    except FileExistsError as error:
        raise ControlError(f"{path} is there already and stays; --force replaces it") from error
    except OSError as error:
        raise ControlError(f"{path} cannot be written: {error.strerror}") from error
