"""The status: the state of the world beside the desired state, as a value.

`phase` is `Ready` only when every table was read, no change is pending, no source is waited for and
every wanted session is established. Every other phase has its reasons.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import attrs

from routerd import __version__
from routerd.clouds.gate import Gate
from routerd.model.claim import AdmittedClaim
from routerd.model.report.phases import claim_phase
from routerd.model.report.status import (
    AdmittedStatus,
    CloudStatus,
    EncryptedPeer,
    LaneStatus,
    ListenerStatus,
    LoopStatus,
    Membership,
    PendingChange,
    PluginStatus,
    RouteStatus,
    SessionStatus,
    Status,
    SubsystemStatus,
    TableStatus,
)
from routerd.model.route import RouteKey
from routerd.model.session import SessionState
from routerd.model.tunnel import PeerState
from routerd.reconcile.desired import Desired
from routerd.reconcile.loop import TableReport
from routerd.reconcile.wording import key_text
from routerd.report.live import Live, alive
from routerd.report.plan import planned_change
from routerd.report.reasons import held, notes, reasons
from routerd.report.subject import Subject


def status_of(
    subject: Subject,
    desired: Desired,
    live: Live,
    *,
    now: datetime,
    more: Sequence[str] = (),
    obstacles: Sequence[str] = (),
    enrollment: Sequence[Membership] = (),
    listener: ListenerStatus | None = None,
    loop: LoopStatus | None = None,
    restarts: Mapping[str, str] | None = None,
) -> Status:
    """Return the whole status; `more` are reasons from outside of the router's tables.

    `obstacles` become notes: they are the host's, and no table waits for them. `restarts` says of a plugin
    what waits for a restart.
    """
    why = reasons(subject, desired, live, more=more)
    configuration = subject.prepared.configuration
    reports = subject.loop.reports()
    known = subject.knowledge
    noted = (*notes(desired), *held(reports.values()), *obstacles)
    return Status(
        node=configuration.node,
        version=__version__,
        phase="Ready" if not why else "Degraded" if live.sessions else "Pending",
        reasons=tuple(why),
        notes=noted,
        config_file=configuration.file,
        plugins=tuple(plugin.info.name for plugin in subject.prepared.host.plugins),
        time=now,
        tables=tuple(
            _table(report, desired, subject.gates().get(name)) for name, report in sorted(reports.items())
        ),
        lanes={name: LaneStatus(passes=n, last_seconds=s) for name, (n, s) in subject.loop.passes().items()},
        sessions=tuple(_session(state, desired) for state in live.sessions),
        tunnels=live.tunnels,
        encrypted_peers=tuple(
            _peer(state, live.encryption[state.key.link], now.timestamp()) for state in live.peers
        ),
        routes=_routes(subject, desired),
        rejected=(
            *(each for name in sorted(known.learned) for each in known.learned[name].rejected),
            *desired.rejected,
        ),
        fabrics=tuple(
            CloudStatus(profile=name, **attrs.asdict(facts, recurse=False))
            for name, facts in known.instances.items()
        ),
        claims=tuple(
            _claim(each, now) for each in sorted(known.claims, key=lambda admitted: admitted.claim.name)
        ),
        enrollment=tuple(enrollment),
        listener=listener or ListenerStatus(),
        loop=loop or LoopStatus(),
        plugin_states=tuple(
            _plugin(subject, plugin.info.name, (*why, *noted), restarts or {})
            for plugin in subject.prepared.host.plugins
        ),
        subsystems=tuple(
            SubsystemStatus(
                subsystem=kind,
                plugin=subject.made.subsystems[kind].plugin,
                **attrs.asdict(each, recurse=False),
            )
            for kind, states in live.subsystems.items()
            for each in states
        ),
    )


def _plugin(subject: Subject, name: str, texts: Sequence[str], restarts: Mapping[str, str]) -> PluginStatus:
    marks = (f"(plugin {name})", f"plugin {name}: ", f"task {name}/")
    log = subject.made.logs.get(name)
    return PluginStatus(
        name=name,
        troubles=tuple(text for text in texts if any(mark in text for mark in marks)),
        dropped_log_lines=log.dropped if log is not None else 0,
        restart=restarts.get(name, ""),
    )


def _table(report: TableReport, desired: Desired, gate: Gate | None) -> TableStatus:
    owners = desired.table(report.name).owners
    return TableStatus(
        name=report.name,
        desired=report.desired,
        observed=report.observed,
        in_sync=report.in_sync,
        complete=report.complete,
        error=report.error if not report.readable else "",
        pending=tuple(
            PendingChange(
                key=key_text(key),
                resource=owners.get(key, ""),
                failures=pending.failures,
                error=str(pending.error),
            )
            for key, pending in report.pending.items()
        ),
        planned=tuple(planned_change(report.name, change, gate) for change in report.planned),
    )


def _session(state: SessionState, desired: Desired) -> SessionStatus:
    session = desired.table("bgp/sessions").values.get(state.neighbour)
    return SessionStatus(
        neighbour=state.neighbour,
        leaf=session.leaf if session is not None else "",
        passive=session.passive if session is not None else False,
        state=state.state,
        since=datetime.fromtimestamp(state.since, UTC) if state.since else None,
        remote_asn=state.remote_asn,
        remote_router_id=state.remote_router_id or None,
        received=state.received,
        accepted=state.accepted,
        rejected=dict(state.rejected),
        advertised=state.advertised,
        last_error=state.last_error,
    )


def _peer(state: PeerState, mode: str, now: float) -> EncryptedPeer:
    return EncryptedPeer(
        link=state.key.link,
        mode=mode,
        public_key=state.key.public_key,
        endpoint=str(state.endpoint) if state.endpoint else None,
        handshake_age=round(now - state.last_handshake) if state.last_handshake else None,
        alive=alive(state, now),
        rx_bytes=state.rx_bytes,
        tx_bytes=state.tx_bytes,
    )


def _routes(subject: Subject, desired: Desired) -> tuple[RouteStatus, ...]:
    learned = subject.inputs().learned
    if learned is None:
        return ()
    barred = {(each.prefix, each.neighbour, each.source) for each in desired.rejected}
    wanted = {key.prefix for key in desired.table("routes").values}
    report = subject.loop.reports().get("routes")
    pending = report.pending if report is not None else {}
    failed = {key.prefix for key in pending if isinstance(key, RouteKey)}
    return tuple(
        RouteStatus(
            installed=route.best
            and route.prefix in wanted
            and route.prefix not in failed
            and (route.prefix, route.neighbour, route.source) not in barred,
            **attrs.asdict(route, recurse=False),
        )
        for route in learned.routes
    )


def _claim(admitted: AdmittedClaim, now: datetime) -> AdmittedStatus:
    claim = admitted.claim
    return AdmittedStatus(
        name=claim.name,
        leaf_id=claim.leaf_id,
        policy=claim.policy_ref,
        owned=tuple(sorted(claim.owned_addresses)),
        tunnel_address=claim.tunnel_address,
        admitted_at=admitted.admitted_at,
        expires_at=admitted.expires_at,
        active=admitted.active(now),
        phase=claim_phase(admitted, now),
    )
