"""Resources as configured, each with its status."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import attrs

from routerd import config
from routerd.admission.documents import admitted_status
from routerd.model import specs
from routerd.model.addresses import IPAddress
from routerd.model.report.claims import ClaimStatus
from routerd.model.report.resources import (
    DiscoveredPeer,
    ResourceList,
    ResourceMetadata,
    ResourceReport,
    ResourceStatus,
)
from routerd.model.report.status import Membership
from routerd.model.resource import Resource
from routerd.model.session import Session
from routerd.model.specs.claim_codec import claim_to_document
from routerd.model.specs.devices import device_of
from routerd.reconcile.desired import Desired
from routerd.reconcile.loop import TableReport
from routerd.reconcile.wording import key_text
from routerd.report.live import Live
from routerd.report.obstacles import Obstacle
from routerd.report.subject import Subject


@attrs.frozen(kw_only=True)
class Moment:
    """Everything that the status of a resource is made from."""

    desired: Desired
    live: Live
    reports: Mapping[str, TableReport]
    memberships: Sequence[Membership]
    obstacles: Sequence[Obstacle]


def resources_of(subject: Subject, moment: Moment, now: datetime) -> ResourceList:
    """Return every resource of the file and every admitted claim, each with its status."""
    items = [
        _report(config.to_document(resource), _status(resource, moment))
        for resource in subject.prepared.configuration.resources
    ]
    items += [
        _report(claim_to_document(admitted.claim), admitted_status(admitted, now))
        for admitted in sorted(subject.knowledge.claims, key=lambda each: each.claim.name)
    ]
    return ResourceList(items=tuple(items))


def _report(
    document: Mapping[str, Any], status: ResourceStatus | Membership | ClaimStatus
) -> ResourceReport:  # Any: JSON
    return ResourceReport(
        api_version=document["apiVersion"],
        kind=document["kind"],
        metadata=ResourceMetadata(**document["metadata"]),
        spec=document["spec"],
        status=status,
    )


def _status(resource: Resource[object], moment: Moment) -> ResourceStatus | Membership:
    ref = resource.id.ref
    desired, live = moment.desired, moment.live
    if isinstance(resource.spec, specs.SAMEnrollmentClientSpec):
        waiting = Membership(name=ref, phase="Pending")
        return next((each for each in moment.memberships if each.name == ref), waiting)
    conditions = desired.conditions.get(ref, ())
    owned = {
        name: keys
        for name, table in desired.tables.items()
        if (keys := [key for key, owner in table.owners.items() if owner == ref])
    }
    why = [each.message for each in conditions if each.status != "True"]
    for name, keys in owned.items():
        why += _troubles(name, keys, moment.reports.get(name))
    mine = {n: each for n, each in desired.table("bgp/sessions").values.items() if each.owner == ref}
    for neighbour in mine:
        if not live.up(neighbour):
            state = live.session(neighbour)
            why.append(f"session {neighbour}: {state.state if state else 'not there yet'}")
    notes = [each.message for each in conditions if each.type == "Note"]
    device = device_of(resource.name, resource.spec)
    notes += [each.text for each in moment.obstacles if device and each.link == device]
    peers: tuple[DiscoveredPeer, ...] | None = None
    if isinstance(resource.spec, specs.BGPDynamicPeerSpec):
        peers = tuple(_discovered(neighbour, session, live) for neighbour, session in mine.items())
    return ResourceStatus(
        phase="Pending" if why else "Ready",
        reasons=tuple(why),
        objects=sum(map(len, owned.values())),
        notes=tuple(notes),
        discovered_peers=peers,
        discovered_peer_count=None if peers is None else len(peers),
    )


def _troubles(name: str, keys: Sequence[object], report: TableReport | None) -> Iterator[str]:
    if report is None or not report.readable:
        yield f"{name}: {report.error if report else 'not read yet'}"
    else:
        yield from (f"{key_text(k)}: {report.pending[k].error}" for k in keys if k in report.pending)


def _discovered(neighbour: IPAddress, session: Session, live: Live) -> DiscoveredPeer:
    state = live.session(neighbour)
    return DiscoveredPeer(
        remote_address=neighbour,
        leaf_id=session.leaf,
        state=state.state if state is not None else "idle",
        accepted_routes=state.accepted if state is not None else 0,
        rejected_routes=sum(count for _, count in state.rejected) if state is not None else 0,
    )
