"""The status and the claims as metrics for Prometheus; nothing is measured that the status has not.

The library is imported when somebody asks for metrics, not before: most daemons are never scraped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from math import inf
from typing import TYPE_CHECKING, cast

import attrs

from routerd.spi import JSONValue

if TYPE_CHECKING:
    from prometheus_client import Metric

Document = Mapping[str, JSONValue]

SESSION_STATES = ("idle", "connect", "active", "opensent", "openconfirm", "established")


def exposition(status: Document, claims: Sequence[JSONValue], *, now: datetime) -> str:
    """Return the text format. `status` is that of the admin API, `claims` those of `/v1/claims`."""
    from prometheus_client import CollectorRegistry, generate_latest  # noqa: PLC0415 - only when asked

    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Measured(status=status, claims=tuple(_objects(claims)), now=now))
    return generate_latest(registry).decode()


@attrs.frozen(kw_only=True, eq=False)
class _Measured:
    """A collector of `prometheus_client` over one moment; a registry keeps it as a key."""

    status: Document
    claims: tuple[Document, ...]
    now: datetime

    def collect(self) -> Iterator[Metric]:
        """Yield every metric; the method's name is the library's."""
        yield _info(
            "routerd_build",
            "Version of routerd and the name of the router.",
            {"version": _text(self.status, "version"), "node": _text(self.status, "node")},
        )
        ready = 1.0 if self.status.get("phase") == "Ready" else 0.0
        yield _gauge("routerd_ready", "Whether everything is as the file says.", (), [((), ready)])
        reasons = _list(self.status, "reasons")
        yield _gauge("routerd_not_ready_reasons", "Reasons not to be ready.", (), [((), len(reasons))])
        yield from self._of_claims()
        yield from self._of_enrollment()
        yield from self._of_sessions()
        yield from self._of_routes()
        yield from self._of_tables()
        yield from self._of_tunnels()
        yield from self._of_peers()

    def _of_claims(self) -> Iterator[Metric]:
        counts = Counter((_claim_phase(each), _policy(each)) for each in self.claims)
        yield _gauge(
            "routerd_claims", "Claims that a route reflector knows of.", ("state", "policy"), counts.items()
        )
        ends = [
            ((_claim_name(each), _leaf(each)), self._left(_object(each, "status").get("expiresAt")))
            for each in self.claims
            if _claim_phase(each) == "Approved"
        ]
        yield _gauge(
            "routerd_claim_expires_seconds", "Seconds until an approved claim ends.", ("claim", "leaf"), ends
        )

    def _of_enrollment(self) -> Iterator[Metric]:
        accepted: list[tuple[tuple[str, ...], float]] = []
        remaining: list[tuple[tuple[str, ...], float]] = []
        for client in _objects(_list(self.status, "enrollment")):
            name = _text(client, "name").rpartition("/")[2]
            ends = []
            for endpoint in _objects(_list(client, "endpoints")):
                holds = endpoint.get("accepted") is True
                accepted.append(((name, _text(endpoint, "target")), 1.0 if holds else 0.0))
                ends += [self._left(endpoint.get("until"))] if holds else []
            remaining.append(((name,), min(ends, default=0.0)))
        yield _gauge(
            "routerd_enrollment_endpoint_accepted",
            "Whether a route reflector holds the claim of this leaf.",
            ("client", "target"),
            accepted,
        )
        yield _gauge(
            "routerd_enrollment_claim_remaining_seconds",
            "Seconds until the first route reflector forgets the claim of this leaf; 0 when none holds it.",
            ("client",),
            remaining,
        )

    def _of_sessions(self) -> Iterator[Metric]:
        sessions = _objects(_list(self.status, "sessions"))
        counts = Counter(dict.fromkeys(SESSION_STATES, 0))
        counts.update(_text(each, "state").lower() for each in sessions)
        yield _gauge(
            "routerd_bgp_sessions",
            "BGP sessions by state.",
            ("state",),
            [((state,), count) for state, count in counts.items()],
        )
        labels = ("neighbour", "leaf")
        for field, words in (
            ("received", "Prefixes that a neighbour announces."),
            ("accepted", "Prefixes of a neighbour that the policy lets in."),
            ("advertised", "Prefixes that are announced to a neighbour."),
        ):
            samples = [(_neighbour(each), _number(each, field)) for each in sessions]
            yield _gauge(f"routerd_bgp_{field}_prefixes", words, labels, samples)
        rejected = [
            ((*_neighbour(each), reason), _number(_object(each, "rejected"), reason))
            for each in sessions
            for reason in _object(each, "rejected")
        ]
        yield _gauge(
            "routerd_bgp_rejected_prefixes",
            "Prefixes of a neighbour that the policy refuses.",
            (*labels, "reason"),
            rejected,
        )

    def _of_routes(self) -> Iterator[Metric]:
        routes = _objects(_list(self.status, "routes"))
        installed = sum(each.get("installed") is True for each in routes)
        yield _gauge("routerd_routes_learned", "Routes that were learned.", (), [((), len(routes))])
        yield _gauge("routerd_routes_installed", "Routes learned and installed.", (), [((), installed)])

    def _of_tables(self) -> Iterator[Metric]:
        tables = _objects(_list(self.status, "tables"))
        for name, field, words in (
            ("desired", "desired", "Objects that a table should hold."),
            ("in_sync", "inSync", "Objects of a table that are as they should be."),
        ):
            samples = [((_text(each, "name"),), _number(each, field)) for each in tables]
            yield _gauge(f"routerd_table_{name}_objects", words, ("table",), samples)
        pending = [((_text(each, "name"),), len(_list(each, "pending"))) for each in tables]
        yield _gauge(
            "routerd_table_pending_changes", "Changes that failed and are tried again.", ("table",), pending
        )
        planned = Counter(
            (_text(each, "name"), _text(_object(change, "action"), "state"))
            for each in tables
            for change in _objects(_list(each, "planned"))
            if "action" in change
        )
        yield _gauge(
            "routerd_table_planned_changes",
            "Changes of a cloud that are wanted and not made.",
            ("table", "standing"),
            list(planned.items()),
        )

    def _of_tunnels(self) -> Iterator[Metric]:
        tunnels = _objects(_list(self.status, "tunnels"))
        labels = ("link", "backend")
        up = [(_link(each), 1.0 if each.get("up") is True else 0.0) for each in tunnels]
        yield _gauge("routerd_tunnel_up", "Whether a tunnel's device is up.", labels, up)
        for name, field in (("receive", "rxBytes"), ("transmit", "txBytes")):
            samples = [(_link(each), _number(each, field)) for each in tunnels]
            yield _counter(f"routerd_tunnel_{name}_bytes", f"Bytes of a tunnel, {name}.", labels, samples)

    def _of_peers(self) -> Iterator[Metric]:
        labels = ("link", "public_key")
        ages = [
            ((_text(each, "link"), _text(each, "publicKey")), _number(each, "handshakeAge"))
            for each in _objects(_list(self.status, "wireguard"))
            if each.get("handshakeAge") is not None
        ]
        words = "Seconds since the last handshake of a WireGuard peer; above 180 it is dead."
        yield _gauge("routerd_wireguard_handshake_age_seconds", words, labels, ages)

    def _left(self, end: JSONValue) -> float:
        """Return the seconds until a time of a document, not below 0; endless when it has none."""
        if not isinstance(end, str):
            return inf
        return max(0.0, (datetime.fromisoformat(end) - self.now).total_seconds())


# --- the library's families -------------------------------------------------------------------------

Samples = Sequence[tuple[tuple[str, ...], float]]


def _gauge(name: str, words: str, labels: Sequence[str], samples: object) -> Metric:
    from prometheus_client.core import GaugeMetricFamily  # noqa: PLC0415 - see above

    family = GaugeMetricFamily(name, words, labels=labels)
    for values, value in cast("Samples", samples):
        family.add_metric(values, value)
    return family


def _counter(name: str, words: str, labels: Sequence[str], samples: Samples) -> Metric:
    from prometheus_client.core import CounterMetricFamily  # noqa: PLC0415 - see above

    family = CounterMetricFamily(name, words, labels=labels)
    for values, value in samples:
        family.add_metric(values, value)
    return family


def _info(name: str, words: str, values: dict[str, str]) -> Metric:
    from prometheus_client.core import InfoMetricFamily  # noqa: PLC0415 - see above

    return InfoMetricFamily(name, words, value=values)


# --- reading documents ------------------------------------------------------------------------------


def _object(document: Document, key: str) -> Document:
    value = document.get(key)
    return value if isinstance(value, dict) else {}


def _list(document: Document, key: str) -> Sequence[JSONValue]:
    value = document.get(key)
    return value if isinstance(value, list) else []


def _objects(values: Sequence[JSONValue]) -> list[Document]:
    return [value for value in values if isinstance(value, dict)]


def _text(document: Document, key: str) -> str:
    value = document.get(key)
    return value if isinstance(value, str) else ""


def _number(document: Document, key: str) -> float:
    value = document.get(key)
    return float(value) if isinstance(value, (int, float)) else 0.0


def _claim_name(claim: Document) -> str:
    return _text(_object(claim, "metadata"), "name")


def _claim_phase(claim: Document) -> str:
    return _text(_object(claim, "status"), "phase") or "Unknown"


def _leaf(claim: Document) -> str:
    return _text(_object(claim, "spec"), "leafID").strip()


def _policy(claim: Document) -> str:
    return _text(_object(claim, "spec"), "policyRef").strip().rpartition("/")[2]


def _neighbour(session: Document) -> tuple[str, str]:
    return _text(session, "neighbour"), _text(session, "leaf")


def _link(tunnel: Document) -> tuple[str, str]:
    return _text(tunnel, "link"), _text(tunnel, "backend")
