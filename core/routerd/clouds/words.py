"""Changes of clouds in plain words, and their values as the journal has them."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from routerd.clouds.gate import AnyChange, Gate, id_of
from routerd.model.change import Change, Verb
from routerd.model.fabric import FabricRoute, FabricRouteKey, Forwarding
from routerd.model.report.plan import ActionOutlook, ActionState
from routerd.reconcile.wording import key_text, value_text
from routerd.spi import JSONValue
from routerd.store.codec import from_json

_KINDS: dict[str, tuple[type[Any], type[Any]]] = {
    "forwarding": (str, Forwarding),
    "routes": (FabricRouteKey, FabricRoute),
}
"""The classes of key and value of each journaled table; a subsystem's have a slash in their name."""

_STANDING: Mapping[ActionState, str] = {
    "planned": "planned and not made (mode plan)",
    "waiting": "waiting for approval: routerd actions approve {id}",
    "approved": "approved and due at the next pass",
    "held": "held after an undo: routerd actions approve {id} releases it",
    "auto": "due at the next pass (mode auto)",
}
"""The state of a change, as words that may follow `is`."""


def learn(table: str, key: type[Any], value: type[Any]) -> None:  # Any: of any table
    """Let the journal's entries of a subsystem's table be read from now on."""
    _KINDS[table] = key, value


def name_in_loop(table: str, scope: str) -> str:
    """Return the name in the loop of a table by its names in the journal."""
    return table if "/" in table else f"{table}/{scope}"


@attrs.frozen(kw_only=True)
class Deed:
    """A change of a cloud; an unreadable value of the journal stays as its JSON."""

    scope: str
    table: str
    verb: Verb
    key: object
    before: object
    after: object

    @property
    def text(self) -> str:
        """Return the change as one sentence without a subject: `add route 10.0.0.1/32 ...`."""
        match self.key:
            case FabricRouteKey():
                return self._route(self.key)
            case str() if self.table == "forwarding":
                present = f" ({_switch(self.before)} before)" if self.before is not None else ""
                return f"turn forwarding {_switch(self.after)} for {self.key}{present}"
            case _:
                return f"{self.verb} {key_text(self.key)}"

    def _route(self, key: FabricRouteKey) -> str:
        route, before, after = f"route {key.prefix}", _hop(self.before), _hop(self.after)
        match self.verb:
            case "create":
                return f"add {route} to {after} in table {key.table}"
            case "replace":
                return f"turn {route} in table {key.table} from {before} to {after}"
            case _:
                return f"remove {route} to {before} from table {key.table}"

    def parts(self) -> dict[str, Any]:  # Any: fields of `CloudChange`
        """Return the fields of the `CloudChange` that this is."""
        route = self.key if isinstance(self.key, FabricRouteKey) else None
        return {
            "profile": self.scope,
            "table": self.table,
            "verb": self.verb,
            "key": key_text(self.key),
            "route_table": str(route.table) if route else None,
            "prefix": str(route.prefix) if route else None,
            "nic": None if route else key_text(self.key),
            "from_": _value(self.before),
            "to": _value(self.after),
            "text": self.text,
        }


def deed_of(scope: str, table: str, change: AnyChange) -> Deed:
    """Return a wanted change as a deed."""
    return Deed(
        scope=scope,
        table=table,
        verb=change.verb,
        key=change.key,
        before=change.before,
        after=change.after,
    )


def written_deed(
    scope: str, table: str, verb: Verb, key_value: JSONValue, before: JSONValue, after: JSONValue
) -> Deed:
    """Return a change from the journal as a deed, readable or not."""
    try:
        change = decoded(table, key_value, before, after)
    except ValueError:
        return Deed(scope=scope, table=table, verb=verb, key=key_value, before=before, after=after)
    return deed_of(scope, table, change)


def decoded(table: str, key_value: JSONValue, before: JSONValue, after: JSONValue) -> AnyChange:
    """Return a change from the journal; `ValueError` when this routerd cannot read it."""
    if table not in _KINDS:
        raise ValueError(f"there is no table {table}")
    key_kind, value_kind = _KINDS[table]
    return Change(
        key=from_json(key_value, key_kind),
        before=None if before is None else from_json(before, value_kind),
        after=None if after is None else from_json(after, value_kind),
    )


def key_of(table: str, key_value: JSONValue) -> str:
    """Return a key from the journal as a person writes it."""
    try:
        return key_text(from_json(key_value, _KINDS[table][0]))
    except (KeyError, ValueError):
        return value_text(key_value)


def present_text(table: str, value: object) -> str:
    """Return the present value in words."""
    if value is None:
        return "no route to this router" if table == "routes" else "no such interface"
    match value:
        case FabricRoute():
            return f"a route to {value.next_hop}"
        case Forwarding():
            return f"forwarding {_switch(value)}"
        case _:
            return value_text(value)


def outlook_of(gate: Gate, change: AnyChange, state: ActionState | None = None) -> ActionOutlook:
    """Return what becomes of a wanted change: its id, its state, and the state in words."""
    state = state or gate.state(change)
    action = id_of(gate.digest(change))
    return ActionOutlook(id=action, state=state, text=_STANDING[state].format(id=action))


def open_ends(gate: Gate | None, planned: Iterable[AnyChange]) -> str:
    """Return in words why wanted changes are not made."""
    counts = Counter[str]("planned" if gate is None else gate.state(change) for change in planned)
    words = {
        "waiting": ("waits for approval", "wait for approval", "mode approve, see routerd actions list"),
        "held": ("is held after an undo", "are held after an undo", "see routerd actions list"),
        "planned": ("is planned and not made", "are planned and not made", "mode plan"),
        "approved": ("is approved and not made yet", "are approved and not made yet", "mode approve"),
        "auto": ("is not made yet", "are not made yet", "mode auto"),
    }
    return ", ".join(
        f"{counts[state]} {f'change {one}' if counts[state] == 1 else f'changes {many}'} ({why})"
        for state, (one, many, why) in words.items()
        if counts[state]
    )


def _hop(value: object) -> str:
    return value.next_hop if isinstance(value, FabricRoute) else value_text(value)


def _switch(value: object) -> str:
    if isinstance(value, Forwarding):
        return "on" if value.enabled else "off"
    return value_text(value)


def _value(value: object) -> str | None:
    match value:
        case None:
            return None
        case FabricRoute():
            return value.next_hop
        case Forwarding():
            return _switch(value)
        case _:
            return value_text(value)
