"""The status and the claims as metrics for Prometheus; every measure is a field of the status.

The first request for metrics imports the library: most daemons are never scraped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from math import inf
from operator import attrgetter
from typing import TYPE_CHECKING, Any, cast

import attrs

from routerd.model.names import Ref
from routerd.model.report.claims import ClaimReport
from routerd.model.report.status import SessionStatus, Status, TableStatus

if TYPE_CHECKING:
    from prometheus_client import Metric

SESSION_STATES = ("idle", "connect", "active", "opensent", "openconfirm", "established")


def exposition(status: Status, claims: Sequence[ClaimReport], *, now: datetime) -> str:
    """Return the text format."""
    from prometheus_client import CollectorRegistry, generate_latest  # noqa: PLC0415 - only when asked

    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Measured(status=status, claims=tuple(claims), now=now))
    return generate_latest(registry).decode()


@attrs.frozen(kw_only=True, eq=False)
class _Measured:
    """A collector of `prometheus_client` over one moment; a registry keeps it as a key."""

    status: Status
    claims: tuple[ClaimReport, ...]
    now: datetime

    def collect(self) -> Iterator[Metric]:
        """Yield every metric; the method's name is the library's."""
        build = {"version": self.status.version, "node": self.status.node}
        yield _family(
            "InfoMetricFamily",
            "routerd_build",
            "Version of routerd and the name of the router.",
            (),
            [((), build)],
        )
        ready = 1.0 if self.status.phase == "Ready" else 0.0
        yield _gauge("routerd_ready", "Whether everything is as the file says.", (), [((), ready)])
        reasons = len(self.status.reasons)
        yield _gauge("routerd_not_ready_reasons", "Reasons not to be ready.", (), [((), reasons)])
        yield from self._of_process()
        yield from self._of_claims()
        yield from self._of_enrollment()
        yield from self._of_sessions()
        yield from self._of_routes()
        yield from self._of_tables()
        yield from self._of_tunnels()
        yield from self._of_peers()
        yield from self._of_subsystems()

    def _of_process(self) -> Iterator[Metric]:
        loop = self.status.loop
        for kind, name, words, value in (
            ("Gauge", "lag_seconds", "Seconds that the event loop was late at last.", loop.lag_seconds),
            ("Gauge", "longest_lag_seconds", "Most seconds that it was late.", loop.longest_lag_seconds),
            ("Counter", "blocked", "Times that it did not run for more than 1 s.", float(loop.blocked)),
        ):
            yield _family(f"{kind}MetricFamily", f"routerd_loop_{name}", words, (), [((), value)])
        dropped = [((each.name,), float(each.dropped_log_lines)) for each in self.status.plugin_states]
        yield _family(
            "CounterMetricFamily",
            "routerd_plugin_dropped_log_lines",
            "Lines of a plugin that its log budget had no room for.",
            ("plugin",),
            dropped,
        )

    def _of_claims(self) -> Iterator[Metric]:
        counts = Counter((each.status.phase, _policy(each)) for each in self.claims)
        yield _gauge(
            "routerd_claims", "Claims that a route reflector knows of.", ("state", "policy"), counts.items()
        )
        ends = [
            ((each.name, each.status.leaf_id), self._left(each.status.expires_at))
            for each in self.claims
            if each.status.phase == "Approved"
        ]
        yield _gauge(
            "routerd_claim_expires_seconds", "Seconds until an approved claim ends.", ("claim", "leaf"), ends
        )

    def _of_enrollment(self) -> Iterator[Metric]:
        accepted: list[tuple[tuple[str, ...], float]] = []
        remaining: list[tuple[tuple[str, ...], float]] = []
        for client in self.status.enrollment:
            name = Ref.parse(client.name).name
            accepted += [((name, each.target), float(each.accepted)) for each in client.endpoints]
            ends = [self._left(each.until) for each in client.endpoints if each.accepted]
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
        sessions = self.status.sessions
        counts = Counter(dict.fromkeys(SESSION_STATES, 0))
        counts.update(each.state.lower() for each in sessions)
        yield _gauge(
            "routerd_bgp_sessions",
            "BGP sessions by state.",
            ("state",),
            [((state,), count) for state, count in counts.items()],
        )
        labels = ("neighbour", "leaf")
        for name, words, measure in (
            ("received", "Prefixes that a neighbour announces.", attrgetter("received")),
            ("accepted", "Prefixes of a neighbour that the policy lets in.", attrgetter("accepted")),
            ("advertised", "Prefixes that are announced to a neighbour.", attrgetter("advertised")),
        ):
            samples = [(_neighbour(each), measure(each)) for each in sessions]
            yield _gauge(f"routerd_bgp_{name}_prefixes", words, labels, samples)
        rejected = [
            ((*_neighbour(each), reason), count)
            for each in sessions
            for reason, count in each.rejected.items()
        ]
        yield _gauge(
            "routerd_bgp_rejected_prefixes",
            "Prefixes of a neighbour that the policy refuses.",
            (*labels, "reason"),
            rejected,
        )

    def _of_routes(self) -> Iterator[Metric]:
        routes = self.status.routes
        installed = sum(each.installed for each in routes)
        yield _gauge("routerd_routes_learned", "Routes that were learned.", (), [((), len(routes))])
        yield _gauge("routerd_routes_installed", "Routes learned and installed.", (), [((), installed)])

    def _of_tables(self) -> Iterator[Metric]:
        tables = self.status.tables
        for name, words, measure in (
            ("desired_objects", "Objects that a table should hold.", attrgetter("desired")),
            ("in_sync_objects", "Objects of a table that match.", attrgetter("in_sync")),
            ("pending_changes", "Changes that failed and that routerd will retry.", _pending),
        ):
            samples = [((each.name,), measure(each)) for each in tables]
            yield _gauge(f"routerd_table_{name}", words, ("table",), samples)
        planned = Counter(
            (each.name, change.action.state)
            for each in tables
            for change in each.planned
            if change.action is not None
        )
        yield _gauge(
            "routerd_table_planned_changes",
            "Changes of a cloud that are wanted and not made.",
            ("table", "standing"),
            list(planned.items()),
        )

    def _of_tunnels(self) -> Iterator[Metric]:
        for kind, name, words, measure in (
            ("Gauge", "up", "Whether a tunnel's device is up.", attrgetter("up")),
            ("Counter", "receive_bytes", "Bytes of a tunnel, receive.", attrgetter("rx_bytes")),
            ("Counter", "transmit_bytes", "Bytes of a tunnel, transmit.", attrgetter("tx_bytes")),
        ):
            samples = [((each.link, each.backend), float(measure(each))) for each in self.status.tunnels]
            yield _family(
                f"{kind}MetricFamily", f"routerd_tunnel_{name}", words, ("link", "backend"), samples
            )

    def _of_peers(self) -> Iterator[Metric]:
        labels = ("link", "mode", "public_key")
        ages = [
            ((each.link, each.mode, each.public_key), each.handshake_age)
            for each in self.status.encrypted_peers
            if each.handshake_age is not None
        ]
        yield _gauge(
            "routerd_encrypted_peer_handshake_age_seconds",
            "Seconds since the last handshake of an encrypted peer; above 180 it is dead.",
            labels,
            ages,
        )

    def _of_subsystems(self) -> Iterator[Metric]:
        samples = [
            ((each.subsystem, each.name, counter), float(count))
            for each in self.status.subsystems
            for counter, count in each.counters.items()
        ]
        yield _family(
            "CounterMetricFamily",
            "routerd_subsystem",
            "Counters of subsystems.",
            ("subsystem", "name", "counter"),
            samples,
        )

    def _left(self, end: datetime | None) -> float:
        """Return the seconds until `end`, not below 0; infinite where there is no end."""
        return inf if end is None else max(0.0, (end - self.now).total_seconds())


# --- the library's families -------------------------------------------------------------------------

Samples = Sequence[tuple[tuple[str, ...], float]]


def _gauge(name: str, words: str, labels: Sequence[str], samples: object) -> Metric:
    return _family("GaugeMetricFamily", name, words, labels, samples)


def _family(kind: str, name: str, words: str, labels: Sequence[str], samples: object) -> Metric:
    from prometheus_client import core  # noqa: PLC0415 - see above

    family: Any = getattr(core, kind)(name, words, labels=labels)  # Any: one of the library's families
    for values, value in cast("Samples", samples):
        family.add_metric(values, value)
    return cast("Metric", family)


def _policy(claim: ClaimReport) -> str:
    return Ref.parse(claim.status.policy).name


def _neighbour(session: SessionStatus) -> tuple[str, str]:
    return str(session.neighbour), session.leaf


def _pending(table: TableStatus) -> int:
    return len(table.pending)
