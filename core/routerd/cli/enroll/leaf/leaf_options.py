"""The options of `routerd enroll leaf-config`."""

from pathlib import Path
from types import SimpleNamespace

import click
import yaml

from routerd.cli.enroll.leaf.values import DURATION, HOST, INTERFACE, NETWORK, Many, joined
from routerd.model.specs.enrollment import DEFAULT_JOIN_METHOD, NO_JOIN_METHOD
from routerd.model.specs.mobility import MAX_PRIORITY
from routerd.model.specs.net import DEFAULT_ENCRYPTION

DEFAULT_MODE = "fou"
DEFAULT_PORT = 5555
KEY_FILE = "/var/lib/routerd/secrets/{}.key"

_FILE = click.Path(path_type=Path, dir_okay=False)
_PORT = click.IntRange(1, 65535)
_DEFAULT_PORT = f"[default: {DEFAULT_PORT} with {DEFAULT_MODE}]"

Answers = SimpleNamespace
"""The values of the options below, by their names; each option says its type."""


def _options(context: click.Context, parameter: click.Parameter, given: tuple[str, ...]) -> dict[str, object]:
    """Return the options of a join method by their names."""
    found: dict[str, object] = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise click.BadParameter(f"{text} is not KEY=VALUE", context, parameter)
        if key in found:
            raise click.BadParameter(f"{key} is given twice", context, parameter)
        try:
            found[key] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise click.BadParameter(
                f"the value of {key} is not YAML; quote it", context, parameter
            ) from error
    return found


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
    click.option(
        "--join-method",
        metavar="NAME",
        default=DEFAULT_JOIN_METHOD,
        show_default=True,
        help=f"joinMethod of the policy; {NO_JOIN_METHOD} proves nothing.",
    ),
    click.option(
        "--join-option",
        "join_options",
        metavar="KEY=VALUE",
        multiple=True,
        callback=_options,
        help="An option of the join method, such as a file: joinOptions of the client. VALUE is YAML.",
    ),
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

OPTIONS = (*_REQUIRED, *_CLAIM, *_TUNNEL, *_ROUTING, *_CLIENT, *_OUTPUT)
