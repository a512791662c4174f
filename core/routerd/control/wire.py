"""Reports as JSON and back: keys in camel case, times in UTC to the second, addresses as text.

The only place that knows the keys. A document begins with `apiVersion` and `kind`; the kind of a
report is the name of its class, and a resource has its own.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, TypeVar, cast

import attrs
import cattrs
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override

from routerd.model.addresses import IPAddress, IPNetwork
from routerd.model.json_value import JSONValue
from routerd.model.moment import second_text
from routerd.model.report import API_VERSION, NEVER, OPTIONAL
from routerd.model.report.claims import ClaimReport, ClaimStatus
from routerd.model.report.resources import ResourceReport, ResourceStatus
from routerd.model.report.status import Membership

Document = dict[str, JSONValue]
T = TypeVar("T")

_CAPITALS = {"Id": "ID", "Asn": "ASN", "Hmac": "HMAC"}


def to_document(report: object) -> Document:
    """Return a report as JSON, with its version and kind."""
    document = cast("Document", _CONVERTER.unstructure(report))
    if isinstance(report, (ClaimReport, ResourceReport)):
        return document
    return {"apiVersion": API_VERSION, "kind": type(report).__name__, **document}


def from_document(document: object, kind: type[T]) -> T:
    """Return the report that `to_document` made `document` from; unknown keys are passed over.

    `ValueError` when it is of another version, kind or shape.
    """
    if not isinstance(document, Mapping):
        raise ValueError("the document is not an object")  # noqa: TRY004 - one error type for bad input
    if kind not in (ClaimReport, ResourceReport):
        found = document.get("apiVersion"), document.get("kind")
        if found != (API_VERSION, kind.__name__):
            raise ValueError(f"expected {API_VERSION} {kind.__name__}, got {found[0]} {found[1]}")
    try:
        return _CONVERTER.structure(document, kind)
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise ValueError(f"the document is not a {kind.__name__}: {error!r}") from error


def key_of(name: str) -> str:
    """Return the key of a field: `leaf_id` is `leafID`."""
    first, *rest = name.rstrip("_").split("_")
    return first + "".join(_CAPITALS.get(part, part) for part in map(str.capitalize, rest))


def _converter() -> cattrs.Converter:
    converter = cattrs.Converter(detailed_validation=False)

    def writer(kind: type[Any]) -> Callable[[Any], dict[str, Any]]:
        return make_dict_unstructure_fn(kind, converter, **_keys(kind))

    def reader(kind: type[Any]) -> Callable[[Mapping[str, Any], Any], Any]:
        return make_dict_structure_fn(kind, converter, **_keys(kind))

    def write_claim(report: ClaimReport) -> Document:
        from routerd.model.specs import claim_codec  # noqa: PLC0415 - all specs, which few commands need

        document: Document = {
            "apiVersion": claim_codec.API_VERSION,
            "kind": claim_codec.KIND,
            "metadata": {"name": report.name},
            "spec": {},
        }
        if report.claim is not None:
            document = claim_codec.claim_to_document(report.claim)
        document["status"] = converter.unstructure(report.status)
        return document if report.waiting is None else {**document, "waiting": write_claim(report.waiting)}

    def read_claim(document: Document, _: object) -> ClaimReport:
        from routerd.model.specs import claim_codec  # noqa: PLC0415 - as above

        parts = {key: value for key, value in document.items() if key != "waiting"}
        waiting = document.get("waiting")
        return ClaimReport(
            name=converter.structure(document["metadata"], dict[str, str])["name"],
            status=converter.structure(document["status"], ClaimStatus),
            claim=claim_codec.claim_from_document(parts) if document["spec"] else None,
            waiting=read_claim(waiting, None) if isinstance(waiting, dict) else None,
        )

    def read_status(status: Document, _: object) -> ResourceStatus | Membership | ClaimStatus:
        if "endpoints" in status:
            return converter.structure(status, Membership)
        if "objects" in status:
            return converter.structure(status, ResourceStatus)
        return converter.structure(status, ClaimStatus)

    converter.register_unstructure_hook_factory(attrs.has, writer)
    converter.register_structure_hook_factory(attrs.has, reader)
    converter.register_unstructure_hook(ClaimReport, write_claim)
    converter.register_structure_hook(ClaimReport, read_claim)
    converter.register_structure_hook(ResourceStatus | Membership | ClaimStatus, read_status)
    for text in (IPv4Address, IPv4Network, IPv6Address, IPv6Network):
        converter.register_unstructure_hook(text, str)
        converter.register_structure_hook(text, lambda value, to: to(value))
    converter.register_structure_hook(IPAddress, lambda value, _: ip_address(value))
    converter.register_structure_hook(
        IPAddress | None, lambda value, _: None if value is None else ip_address(value)
    )
    converter.register_structure_hook(IPNetwork, lambda value, _: ip_network(value))
    converter.register_unstructure_hook_func(lambda kind: kind == frozenset[str], sorted)
    converter.register_unstructure_hook(datetime, second_text)
    converter.register_structure_hook(datetime, lambda value, _: datetime.fromisoformat(value))
    return converter


def _keys(kind: type[Any]) -> dict[str, Any]:
    attrs.resolve_types(kind)
    return {
        field.name: override(
            rename=key_of(field.name),
            omit=field.metadata == NEVER,
            omit_if_default=field.metadata == OPTIONAL,
        )
        for field in attrs.fields(kind)
    }


_CONVERTER = _converter()
