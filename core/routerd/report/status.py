"""The status as a document: what is, read from the world, beside what should be.

`phase` is `Ready` only when every table was read, nothing is pending, nothing is waited for, and
every session that is wanted is established. Anything else has a reason in words.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import attrs

from routerd import __version__
from routerd.clouds.gate import Gate
from routerd.clouds.words import action_document, open_ends
from routerd.errors import ProviderError
from routerd.model.change import Change
from routerd.model.fabric import InstanceFacts
from routerd.model.intent import Intent
from routerd.model.route import RouteKey
from routerd.model.session import SessionState
from routerd.model.specs import CloudProviderProfileSpec
from routerd.model.tunnel import PeerState, TunnelState
from routerd.reconcile.desired import Desired
from routerd.reconcile.loop import Loop, TableReport
from routerd.reconcile.wording import key_text, value_text
from routerd.report.subject import Subject
from routerd.spi import Clock, JSONValue

Document = dict[str, JSONValue]

HANDSHAKE_LIMIT = 180
"""Seconds after which a WireGuard session without a new handshake is dead (REJECT_AFTER_TIME)."""


@attrs.frozen(kw_only=True)
class Live:
    """What the providers say of themselves at this moment."""

    sessions: tuple[SessionState, ...] = ()
    tunnels: tuple[TunnelState, ...] = ()
    peers: tuple[PeerState, ...] = ()
    errors: tuple[str, ...] = ()


async def ask_live(subject: Subject) -> Live:
    """Ask every provider how it does; one that cannot say is named in `errors`."""
    sessions: list[SessionState] = []
    tunnels: list[TunnelState] = []
    peers: list[PeerState] = []
    errors: list[str] = []
    for kind, routing in subject.made.routings.items():
        try:
            sessions += await routing.states()
        except ProviderError as error:
            errors.append(f"{kind}: {error}")
    for mode, transport in subject.made.transports.items():
        if f"transport/{mode}" in subject.knowledge.waiting:
            continue
        try:
            tunnels += await transport.states()
        except ProviderError as error:
            errors.append(f"{mode}: {error}")
    encrypting = subject.made.encrypting()
    if encrypting is not None and "transport/wireguard" not in subject.knowledge.waiting:
        try:
            peers += await encrypting.peer_states()
        except ProviderError as error:
            errors.append(f"wireguard peers: {error}")
    return Live(sessions=tuple(sessions), tunnels=tuple(tunnels), peers=tuple(peers), errors=tuple(errors))


def reasons(subject: Subject, desired: Desired, live: Live, *, more: Sequence[str] = ()) -> list[str]:
    """Return in words why the router is not ready, `more` among them; none when it is."""
    found = list(more)
    found += [f"{name}: {text}" for name, text in sorted(subject.knowledge.waiting.items())]
    found += live.errors
    reports = subject.loop.reports()
    for name in desired.tables:
        report = reports.get(name)
        wanted_now = len(desired.tables[name].values)
        if report is None:
            if wanted_now:
                found.append(f"{name}: not looked at yet")
        elif not report.readable:
            found.append(f"{name}: {report.error}")
        elif not report.settled:
            found.append(f"{name}: {_unsettled(report, subject.gates().get(name))}")
        elif desired.tables[name].complete and not report.complete:
            # What was missing is known by now, and what it shows to be too much is still there.
            found.append(f"{name}: to be looked at again, now that everything is known")
        elif report.desired != wanted_now:
            found.append(f"{name}: {wanted_now} wanted, {report.desired} at the last look")
    for ref, conditions in desired.conditions.items():
        found += [f"{ref}: {each.message}" for each in conditions if each.status != "True"]
    wanted = desired.table("bgp/sessions").values
    states = {state.neighbour: state for state in live.sessions}
    for neighbour, session in wanted.items():
        state = states.get(neighbour)
        if state is None or not state.established:
            word = state.state if state else "missing"
            why = f" ({state.last_error})" if state and state.last_error else ""
            found.append(f"session {neighbour} {session.leaf}: {word}{why}")
    return found


def notes(desired: Desired) -> list[str]:
    """Return in words what is worth knowing and keeps nothing from being ready."""
    return [
        f"{ref}: {each.message}"
        for ref, conditions in desired.conditions.items()
        for each in conditions
        if each.type == "Note"
    ]


def held(reports: Iterable[TableReport]) -> list[str]:
    """Return in words what stays for a time although nobody needs it any more."""
    return [
        f"{report.name}: {report.held} no longer needed, kept until the hold-down is over"
        for report in reports
        if report.held
    ]


def _unsettled(report: TableReport, gate: Gate | None) -> str:
    failed = next(iter(report.pending.items()), None)
    if failed is not None:
        key, pending = failed
        return f"{key_text(key)}: {pending.error}" + _and_more(len(report.pending) - 1)
    if report.planned:
        return open_ends(gate, report.planned)
    if report.in_sync == report.desired:
        return f"{report.surplus} not yet removed"
    return f"{report.desired - report.in_sync} of {report.desired} not yet as desired"


def _and_more(count: int) -> str:
    return f" and {count} more" if count > 0 else ""


def status_document(
    subject: Subject,
    desired: Desired,
    live: Live,
    *,
    clock: Clock,
    more: Sequence[str] = (),
    obstacles: Sequence[str] = (),
    extra: Document | None = None,
) -> Document:
    """Return the whole status; `more` are reasons from outside of the router's tables.

    `obstacles` are noted: they are the host's, and nothing of ours waits for them.
    """
    why = reasons(subject, desired, live, more=more)
    configuration = subject.prepared.configuration
    plugins: list[JSONValue] = [plugin.info.name for plugin in subject.prepared.host.plugins]
    why_list: list[JSONValue] = list(why)
    return {
        "node": configuration.node,
        "version": __version__,
        "phase": "Ready" if not why else "Degraded" if live.sessions else "Pending",
        "reasons": why_list,
        "notes": _texts([*notes(desired), *held(subject.loop.reports().values()), *obstacles]),
        "configFile": configuration.file,
        "plugins": plugins,
        "time": _stamp(clock.now()),
        "tables": [
            _table(report, desired, subject.gates().get(name))
            for name, report in sorted(subject.loop.reports().items())
        ],
        "lanes": {name: {"passes": n, "lastSeconds": s} for name, (n, s) in subject.loop.passes().items()},
        "sessions": [_session(state, desired) for state in live.sessions],
        "tunnels": [_tunnel(state) for state in live.tunnels],
        "wireguard": [_peer(state, clock.now().timestamp()) for state in live.peers],
        "routes": _routes(subject, desired),
        "rejected": _rejected(subject),
        "fabrics": [_fabric(name, facts) for name, facts in subject.knowledge.instances.items()],
        "claims": _claims(subject, clock.now()),
        **(extra or {}),
    }


def _stamp(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _table(report: TableReport, desired: Desired, gate: Gate | None) -> JSONValue:
    owners = desired.table(report.name).owners
    return {
        "name": report.name,
        "desired": report.desired,
        "observed": report.observed,
        "inSync": report.in_sync,
        "complete": report.complete,
        "error": report.error if not report.readable else "",
        "pending": [
            {
                "key": key_text(key),
                "resource": owners.get(key, ""),
                "failures": pending.failures,
                "error": str(pending.error),
            }
            for key, pending in report.pending.items()
        ],
        "planned": [
            change_document(report.name, change, action_document(gate, change) if gate else None)
            for change in report.planned
        ],
    }


def change_document(table: str, change: Change[object, object], action: Document | None = None) -> Document:
    """Return a change as `routerd plan` shows it; `action` is what becomes of one of a cloud."""
    document: Document = {
        "table": table,
        "verb": change.verb,
        "key": key_text(change.key),
        "before": None if change.before is None else value_text(change.before),
        "after": None if change.after is None else value_text(change.after),
    }
    return document if action is None else {**document, "action": action}


def _session(state: SessionState, desired: Desired) -> JSONValue:
    session = desired.table("bgp/sessions").values.get(state.neighbour)
    return {
        "neighbour": str(state.neighbour),
        "leaf": session.leaf if session is not None else "",
        "passive": session.passive if session is not None else False,
        "state": state.state,
        "since": _stamp(datetime.fromtimestamp(state.since, UTC)) if state.since else None,
        "remoteASN": state.remote_asn,
        "remoteRouterID": str(state.remote_router_id) if state.remote_router_id else None,
        "received": state.received,
        "accepted": state.accepted,
        "rejected": dict(state.rejected),
        "advertised": state.advertised,
        "lastError": state.last_error,
    }


def _tunnel(state: TunnelState) -> JSONValue:
    return {
        "link": state.link,
        "backend": state.backend,
        "up": state.up,
        "rxBytes": state.rx_bytes,
        "txBytes": state.tx_bytes,
        "note": state.note,
    }


def _peer(state: PeerState, now: float) -> JSONValue:
    age = now - state.last_handshake if state.last_handshake else None
    return {
        "link": state.key.link,
        "publicKey": state.key.public_key,
        "endpoint": str(state.endpoint) if state.endpoint else None,
        "handshakeAge": round(age) if age is not None else None,
        "alive": age is not None and age < HANDSHAKE_LIMIT,
        "rxBytes": state.rx_bytes,
        "txBytes": state.tx_bytes,
    }


def _routes(subject: Subject, desired: Desired) -> list[JSONValue]:
    learned = subject.knowledge.learned
    if learned is None:
        return []
    wanted = {key.prefix for key in desired.table("routes").values}
    report = subject.loop.reports().get("routes")
    pending = report.pending if report is not None else {}
    failed = {key.prefix for key in pending if isinstance(key, RouteKey)}
    return [
        {
            "prefix": str(route.prefix),
            "nextHop": str(route.next_hop),
            "neighbour": str(route.neighbour),
            "localPreference": route.local_preference,
            "asPath": list(route.as_path),
            "med": route.med,
            "communities": _texts(sorted(route.communities)),
            "best": route.best,
            "stale": route.stale,
            "installed": route.best and route.prefix in wanted and route.prefix not in failed,
        }
        for route in learned.routes
    ]


def _texts(values: Iterable[str]) -> list[JSONValue]:
    return list(values)


def _rejected(subject: Subject) -> list[JSONValue]:
    learned = subject.knowledge.learned
    return [
        {"prefix": str(each.prefix), "neighbour": str(each.neighbour), "reason": each.reason}
        for each in (learned.rejected if learned is not None else ())
    ]


def _fabric(name: str, facts: InstanceFacts) -> JSONValue:
    return {
        "profile": name,
        "provider": facts.provider,
        "instance": facts.instance,
        "nics": [{"ref": nic.ref, "address": str(nic.address)} for nic in facts.nics],
        "nextHop": facts.next_hop,
        "routeTables": _texts(facts.route_tables),
    }


def _claims(subject: Subject, now: datetime) -> list[JSONValue]:
    return [
        {
            "name": admitted.claim.name,
            "leafID": admitted.claim.leaf_id,
            "policy": admitted.claim.policy_ref,
            "owned": _texts(sorted(admitted.claim.owned_addresses)),
            "tunnelAddress": admitted.claim.tunnel_address,
            "admittedAt": _stamp(admitted.admitted_at),
            "expiresAt": _stamp(admitted.expires_at),
            "active": admitted.active(now),
        }
        for admitted in sorted(subject.knowledge.claims, key=lambda each: each.claim.name)
    ]


def planned_document(subject: Subject, dry: Loop, intent: Intent | None = None) -> Document:
    """Return the changes that a dry pass found, and what kept tables from being read.

    With `intent`, what becomes of a cloud's changes is said as its profiles would have it.
    """
    reports: Sequence[TableReport] = [report for _, report in sorted(dry.reports().items())]
    changes: list[JSONValue] = [
        change_document(report.name, change, _fate(subject.gates().get(report.name), change, intent))
        for report in reports
        for change in report.planned
    ]
    unreadable: list[JSONValue] = [
        f"{report.name}: {report.error}" for report in reports if not report.readable
    ]
    waiting: list[JSONValue] = [f"{name}: {text}" for name, text in sorted(subject.knowledge.waiting.items())]
    incomplete: list[JSONValue] = [report.name for report in reports if not report.complete]
    refused: list[JSONValue] = [
        {**change_document(report.name, change), "reason": str(error)}
        for report in reports
        for change, error in report.refused
    ]
    return {
        "changes": changes,
        "refused": refused,
        "unreadable": unreadable + waiting,
        "incomplete": incomplete,
    }


def _fate(gate: Gate | None, change: Change[object, object], intent: Intent | None) -> Document | None:
    if gate is None:
        return None
    profile = intent.get(gate.scope, CloudProviderProfileSpec) if intent is not None else None
    return action_document(gate, change, gate.state(change, profile.spec.mode) if profile else None)
