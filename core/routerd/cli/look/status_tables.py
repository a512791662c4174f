"""The tables of `routerd status`."""

from collections import Counter
from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from routerd.cli.share.show import cell, table
from routerd.model.report.plan import PlannedChange
from routerd.model.report.status import Status


def render(status: Status) -> RenderableType:
    """Return the status as tables; a part that the router does not have is left out."""
    parts: list[RenderableType] = [
        Text.assemble(
            (status.node, "bold"), "  ", cell(status.phase), f"  routerd {status.version}, ",
            ", ".join(status.plugins) or "no plugins",
        )
    ]  # fmt: skip
    parts += [Text(f"  {reason}", style="yellow") for reason in status.reasons]
    parts += [Text(f"  note: {note}") for note in status.notes]
    for part in (_sessions, _enrollment, _claims, _tunnels, _tables, _fabrics, _subsystems, _plugins):
        title, columns, rows = part(status)
        if rows or part is _tables:
            parts += [Text(""), table(title, columns, rows)]
    return Group(*parts)


Part = tuple[str, Sequence[str], Sequence[Sequence[object]]]


def _sessions(status: Status) -> Part:
    rows = [
        (each.neighbour, each.leaf, each.state, each.accepted, sum(each.rejected.values()), each.advertised,
         each.last_error)
        for each in status.sessions
    ]  # fmt: skip
    columns = ("NEIGHBOUR", "LEAF", "STATE", "ACCEPTED", "REJECTED", "ADVERTISED", "LAST ERROR")
    return "BGP sessions", columns, rows


def _enrollment(status: Status) -> Part:
    rows = [
        (each.name, each.phase, endpoint.target, endpoint.accepted, endpoint.until, endpoint.error)
        for each in status.enrollment
        for endpoint in each.endpoints
    ]
    return "Enrollment", ("CLIENT", "PHASE", "ROUTE REFLECTOR", "ACCEPTED", "UNTIL", "ERROR"), rows


def _claims(status: Status) -> Part:
    rows = [
        (each.name, each.leaf_id, ", ".join(each.owned), each.phase, each.expires_at)
        for each in status.claims
    ]
    return "Admitted claims", ("NAME", "LEAF", "OWNS", "PHASE", "UNTIL"), rows


def _tunnels(status: Status) -> Part:
    rows = [
        (each.link, each.backend, each.up, each.rx_bytes, each.tx_bytes, each.note) for each in status.tunnels
    ]
    return "Tunnels", ("LINK", "BACKEND", "UP", "RX", "TX", "NOTE"), rows


def _tables(status: Status) -> Part:
    rows = [
        (
            each.name, each.desired, each.observed, each.in_sync,
            each.error or (f"{len(each.pending)} failing" if each.pending else _planned(each.planned)),
        )
        for each in status.tables
    ]  # fmt: skip
    return "Tables", ("TABLE", "WANTED", "FOUND", "IN SYNC", "TROUBLE"), rows


def _planned(changes: Sequence[PlannedChange]) -> str:
    """Return how many changes were not made, by their state."""
    states = Counter(each.action.state if each.action is not None else "planned" for each in changes)
    return ", ".join(f"{count} {_STANDING.get(state, state)}" for state, count in states.items())


_STANDING = {"waiting": "waiting for approval", "auto": "to be made"}


def _fabrics(status: Status) -> Part:
    rows = [
        (each.profile, each.provider, each.instance, each.next_hop, ", ".join(each.route_tables))
        for each in status.fabrics
    ]
    return "Clouds", ("PROFILE", "CLOUD", "INSTANCE", "NEXT HOP", "ROUTE TABLES"), rows


def _subsystems(status: Status) -> Part:
    rows = [
        (each.subsystem, each.name, each.text, ", ".join(f"{n} {name}" for name, n in each.counters.items()))
        for each in status.subsystems
    ]
    return "Subsystems", ("SUBSYSTEM", "NAME", "STATE", "COUNTERS"), rows


def _plugins(status: Status) -> Part:
    rows = [
        (each.name, "\n".join(each.troubles), each.dropped_log_lines, each.restart)
        for each in status.plugin_states
        if each.troubles or each.dropped_log_lines or each.restart
    ]
    return "Plugins", ("PLUGIN", "TROUBLE", "DROPPED LOG LINES", "WAITS FOR A RESTART"), rows
