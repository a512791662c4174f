"""Rules of ours as text: for iptables, for nft, and in the comment of an nft rule. Pure."""

import re
import shlex
import socket
from collections.abc import Iterator, Mapping
from ipaddress import AddressValueError, IPv4Network, NetmaskValueError
from typing import Literal, cast

import attrs

from routerd.errors import PermanentError
from routerd.kernel.ownership import FIREWALL_COMMENT, is_our_comment
from routerd.model.addresses import ipv4
from routerd.model.firewall import Accept, FirewallKey, MssClamp
from routerd.model.names import LinkName

_LONGEST = 200
"""Characters of a foreign line that a message quotes."""
_LINK = re.compile(r"[^\s\"'/;{}*+]{1,15}\Z")
_PROTOCOL = re.compile(r"(tcp|udp|[0-9]{1,3})?\Z")
_NAMED = {6: "tcp", 17: "udp"}
_DESCRIPTION = {
    name: f"{name}={{0.{name}}}" for name in ("source", "in_link", "out_link", "protocol", "port")
}
_NFT = {
    "in_link": 'iifname "{0.in_link}"',
    "out_link": 'oifname "{0.out_link}"',
    "source": "ip saddr {0.source}",
}
_IPTABLES = {
    "source": "-s {0.source}",
    "in_link": "-i {0.in_link}",
    "out_link": "-o {0.out_link}",
    "protocol": "-p {0.protocol}",
    "port": "-m {0.protocol} --dport {0.port}",
}
_OPTIONS = {"-s": "source", "-i": "in_link", "-o": "out_link", "-p": "protocol", "--dport": "port"}


def check(key: FirewallKey) -> None:
    """Raise `PermanentError` for a key that no packet filter can hold, `UnsupportedError` for IPv6."""
    links = (key.link,) if isinstance(key, MssClamp) else (key.in_link, key.out_link)
    for link in links:
        if link is not None and not _LINK.match(link):
            raise PermanentError(f"firewall rule {describe(key)}: {link} is not the name of a link")
    if isinstance(key, MssClamp):
        return
    if key.source is not None:
        ipv4(key.source, f"firewall rule {describe(key)}")
    if not _PROTOCOL.match(key.protocol) or (key.protocol.isdigit() and int(key.protocol) > 255):
        raise PermanentError(
            f"firewall rule {describe(key)}: {key.protocol} is neither tcp, udp nor a number"
        )
    if key.port and key.protocol not in {"tcp", "udp"}:
        raise PermanentError(f"firewall rule {describe(key)}: only tcp and udp have ports")


def describe(key: FirewallKey) -> str:
    """Return the key in words that `parse_description` reads; they fit an nft comment."""
    if isinstance(key, MssClamp):
        return f"mss {key.link}"
    return " ".join(["accept", key.chain, *_words(key, _DESCRIPTION)])


def parse_description(comment: str) -> FirewallKey | None:
    """Return the key in the comment of an nft rule, or none if routerd does not write this comment."""
    words = comment.split()
    if not is_our_comment(comment) or len(words) < 3:
        return None
    key: FirewallKey | None = None
    if words[1] == "mss":
        key = MssClamp(link=LinkName(words[2]))
    elif words[1] == "accept" and words[2] in {"input", "forward"}:
        key = _accept(words[2], dict(word.partition("=")[::2] for word in words[3:]))
    return key if key is not None and comment == f"{FIREWALL_COMMENT} {describe(key)}" else None


def nft_rule(key: FirewallKey) -> str:
    """Return the rule in the syntax of nft, comment included."""
    comment = f'comment "{FIREWALL_COMMENT} {describe(key)}"'
    if isinstance(key, MssClamp):
        # SYN without RST; the MTU of the packet's own route (RFC 4459 section 3.2).
        return (
            f'oifname "{key.link}" tcp flags & (syn|rst) == syn tcp option maxseg size set rt mtu {comment}'
        )
    last = {"port": "{0.protocol} dport {0.port}"} if key.port else {"protocol": "meta l4proto {0.protocol}"}
    return " ".join([*_words(key, _NFT | last), "accept", comment])


def iptables_place(key: FirewallKey) -> tuple[str, str]:
    """Return the table and the chain of iptables that hold the rule."""
    if isinstance(key, MssClamp):
        return "mangle", "FORWARD"
    return "filter", key.chain.upper()


def iptables_rule(key: FirewallKey) -> str:
    """Return the rule in the syntax of iptables, without its chain."""
    comment = f"-m comment --comment {FIREWALL_COMMENT}"
    if isinstance(key, MssClamp):
        flags = "-p tcp -m tcp --tcp-flags SYN,RST SYN"
        return f"-o {key.link} {flags} {comment} -j TCPMSS --clamp-mss-to-pmtu"
    return " ".join([*_words(key, _IPTABLES), comment, "-j ACCEPT"])


def _words(key: Accept, forms: Mapping[str, str]) -> list[str]:
    """Return the matches of a rule: the form of each field that has a value."""
    return [form.format(key) for name, form in forms.items() if getattr(key, name)]


@attrs.frozen(kw_only=True)
class SavedRule:
    """A line of `iptables -S`: its chain, its target, and the key when it is a rule of ours."""

    chain: str
    target: str
    key: FirewallKey | None
    is_policy: bool = False
    unread: str = ""


def parse_saved(output: str) -> Iterator[SavedRule]:
    """Yield the rules of `iptables -S`; a policy is a rule whose target is the policy.

    It leaves out remarks, which begin with `#`. A line with unbalanced quotes is a rule that is `unread`.
    """
    for line in output.splitlines():
        if line.startswith("#"):
            continue
        try:
            words = shlex.split(line)
        except ValueError:
            yield SavedRule(chain="", target="", key=None, unread=line[:_LONGEST])
            continue
        if len(words) >= 3 and words[0] == "-P":
            yield SavedRule(chain=words[1], target=words[2], key=None, is_policy=True)
        if len(words) >= 3 and words[0] == "-A":
            yield _saved(words[1], words[2:])


def _saved(chain: str, words: list[str]) -> SavedRule:
    options: dict[str, str] = {}
    target = comment = ""
    plain = True
    position = 0
    while position < len(words):
        word = words[position]
        value = words[position + 1] if position + 1 < len(words) else ""
        if word in _OPTIONS:
            options[_OPTIONS[word]] = value
        elif word == "--comment":
            comment = value
        elif word in {"-j", "-g"}:
            target = value
        elif word == "--tcp-flags":
            position += 1
        elif word == "--clamp-mss-to-pmtu":
            position -= 1
        elif word != "-m":
            plain = False
        position += 2
    key: FirewallKey | None = None
    if comment == FIREWALL_COMMENT and plain:
        if target == "TCPMSS" and "out_link" in options:
            key = MssClamp(link=LinkName(options["out_link"]))
        elif target == "ACCEPT" and chain in {"INPUT", "FORWARD"}:
            key = _accept(chain.lower(), options)
    return SavedRule(chain=chain, target=target, key=key)


def _accept(chain: str, found: dict[str, str]) -> Accept | None:
    try:
        return Accept(
            chain=cast("Literal['input', 'forward']", chain),
            protocol=_protocol(found.get("protocol", "")),
            port=int(found.get("port", "0")),
            in_link=LinkName(found["in_link"]) if "in_link" in found else None,
            out_link=LinkName(found["out_link"]) if "out_link" in found else None,
            source=IPv4Network(found["source"]) if "source" in found else None,
        )
    except (AddressValueError, NetmaskValueError, ValueError):
        return None


def _protocol(text: str) -> str:
    """Return the form of the model: `tcp`, `udp` or a number; iptables prints any name it knows."""
    if not text or text in {"tcp", "udp"}:
        return text
    try:
        number = int(text) if text.isdigit() else socket.getprotobyname(text)
    except OSError as exc:
        raise ValueError(f"unknown protocol {text}") from exc
    return _NAMED.get(number, str(number))
