"""The values that plugins, the core and the state file share hold both families of addresses.

The test resolves the annotations of everything public in `spi`, `model` and `store`, so that IPv6 will need
no other signature. What is IPv4 by a standard is listed with that standard.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import types
import typing
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from typing import Annotated, Any

import attrs
import pytest

PACKAGES = ("routerd.spi", "routerd.model", "routerd.store")

OTHER: dict[object, object] = {
    IPv4Address: IPv6Address,
    IPv4Network: IPv6Network,
    IPv4Interface: IPv6Interface,
    IPv6Address: IPv4Address,
    IPv6Network: IPv4Network,
    IPv6Interface: IPv4Interface,
}
"""Each type of an address, with the same type of the other family."""

_ROUTER_ID = "a BGP identifier has four octets (RFC 4271 section 4.2, RFC 6286 section 2.1)"
_CLUSTER_ID = "CLUSTER_ID is a number of four octets (RFC 4456 section 8)"
_ORIGINATOR = "ORIGINATOR_ID repeats a BGP identifier (RFC 4456 section 8)"

IPV4_BY_STANDARD = {
    "routerd.model.bgp.best_path.order_of": _ORIGINATOR,
    "routerd.model.claim.Claim.router_host": _ROUTER_ID,
    "routerd.model.claim.Reflector.router_id": _ROUTER_ID,
    "routerd.model.report.status.SessionStatus.remote_router_id": _ROUTER_ID,
    "routerd.model.route.LearnedRoute.originator": _ORIGINATOR,
    "routerd.model.session.Session.peer_router_id": _ROUTER_ID,
    "routerd.model.session.SessionState.remote_router_id": _ROUTER_ID,
    "routerd.model.session.Speaker.cluster_id": _CLUSTER_ID,
    "routerd.model.session.Speaker.router_id": _ROUTER_ID,
    "routerd.model.specs.common.SessionsSpec.route_reflector_cluster_id": _CLUSTER_ID,
    "routerd.model.specs.mobility.MemberBGPSpec.router_id": _ROUTER_ID,
    "routerd.model.specs.net.BGPRouterSpec.router_id": _ROUTER_ID,
    # Not by a standard: it is the way from both families to one.
    "routerd.model.addresses.ipv4": "it narrows a value to IPv4, or says that it cannot",
}


def one_family(kind: object) -> bool:
    """Say whether a type holds addresses of one family somewhere, however deep."""
    if kind in OTHER:
        return True
    arguments = [each for each in typing.get_args(kind) if not isinstance(each, str)]
    if typing.get_origin(kind) is Annotated:
        arguments = arguments[:1]
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        arguments = [each for each in arguments if OTHER.get(each) not in arguments]
    # The parameters of a `Callable` are a list.
    flat = [part for each in arguments for part in (each if isinstance(each, list) else [each])]
    return any(map(one_family, flat))


def modules() -> Iterator[types.ModuleType]:
    for name in PACKAGES:
        package = importlib.import_module(name)
        yield package
        for found in pkgutil.walk_packages(package.__path__, f"{name}."):
            yield importlib.import_module(found.name)


class _Attrs:
    Attribute = list


def hints_of(found: Any) -> dict[str, Any]:
    """Return the resolved annotations of a class or a function, with the marks of `Annotated`."""
    try:
        return typing.get_type_hints(found, include_extras=True)
    except TypeError:
        # `attrs.Attribute` takes a parameter from mypy only.
        return typing.get_type_hints(found, localns={"attrs": _Attrs}, include_extras=True)


def signatures(module: types.ModuleType) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each public function, method and class of a module with its resolved annotations."""
    for name, found in vars(module).items():
        if name.startswith("_"):
            continue
        path = f"{module.__name__}.{name}"
        if inspect.isclass(found) and found.__module__ == module.__name__:
            yield from _of_class(path, found)
        elif inspect.isfunction(inspect.unwrap(found)) and found.__module__ == module.__name__:
            yield path, hints_of(inspect.unwrap(found))
        elif typing.get_origin(found) is not None:
            # A name for a type, such as `PathKey = tuple[Network, Address]`.
            yield path, {"": found}


def _of_class(path: str, found: type) -> Iterator[tuple[str, dict[str, Any]]]:
    hints = hints_of(found)
    own = inspect.get_annotations(found)
    for field in own:
        if not field.startswith("_"):
            yield f"{path}.{field}", {"": hints[field]}
    for name, member in vars(found).items():
        if name.startswith("_") and name not in ("__init__", "__call__"):
            continue
        raw = getattr(member, "fget", None) or getattr(member, "__func__", None) or member
        if inspect.isfunction(raw) and not (name == "__init__" and attrs.has(found)):
            yield f"{path}.{name}", hints_of(raw)


SIGNATURES = [each for module in modules() for each in signatures(module)]


def test_every_public_value_and_signature_holds_both_families() -> None:
    found = {path for path, hints in SIGNATURES if any(map(one_family, hints.values()))}
    assert found - IPV4_BY_STANDARD.keys() == set(), "use IPAddress, IPNetwork or IPInterface"


def test_what_stays_ipv4_is_there_and_is_ipv4() -> None:
    found = {path for path, hints in SIGNATURES if any(map(one_family, hints.values()))}
    assert IPV4_BY_STANDARD.keys() - found == set(), "take it from the list"


def test_the_search_reaches_fields_methods_properties_functions_and_names_of_types() -> None:
    paths = {path for path, _ in SIGNATURES}
    assert len(paths) > 500
    assert paths >= {
        "routerd.model.route.LearnedRoute.next_hop",
        "routerd.model.claim.Claim.tunnel_host",
        "routerd.model.claim.host",
        "routerd.model.session.Prefix",
        "routerd.spi.kernel.Kernel.set_link",
        "routerd.spi.routing.BgpRouting.sessions",
        "routerd.spi.cloud.account.CloudAccount.facts",
        "routerd.store.records.PendingClaim.source",
        "routerd.store.store.Store.topologies",
    }


@pytest.mark.parametrize(
    "kind",
    [
        IPv4Address,
        IPv4Network | None,
        tuple[IPv4Interface, ...],
        dict[str, frozenset[IPv4Network]],
        IPv4Address | IPv6Network,
        IPv6Address,
        typing.Callable[[IPv4Address], None],
        Annotated[IPv4Address, "x"],
        typing.Annotated[tuple[IPv4Address, ...], "x"] | None,
    ],
    ids=str,
)
def test_one_family_is_found_however_deep(kind: object) -> None:
    assert one_family(kind)


@pytest.mark.parametrize(
    "kind",
    [
        str,
        IPv4Address | IPv6Address,
        IPv4Address | IPv6Address | None,
        tuple[IPv4Network | IPv6Network, ...],
        Annotated[IPv4Interface | IPv6Interface, "x"],
        dict[IPv4Address | IPv6Address, IPv4Network | IPv6Network],
    ],
    ids=str,
)
def test_both_families_are_not_one(kind: object) -> None:
    assert not one_family(kind)
