"""The structured log: a constant event, facts as keys, one line each, on standard error."""

import json
import math
import sys
import traceback
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Literal, TextIO

import attrs

Format = Literal["human", "json"]
Level = Literal["debug", "info", "warning", "error"]

_ORDER: Mapping[str, int] = {"debug": 0, "info": 1, "warning": 2, "error": 3}
_LABEL = {"debug": "debug", "info": "info ", "warning": "WARN ", "error": "ERROR"}


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Leveled:
    """The four methods of `spi.Logger`; a log says in `write` what becomes of an event."""

    def debug(self, event: str, /, **facts: object) -> None:
        """Log what only a developer wants to see."""
        self.write("debug", event, facts)

    def info(self, event: str, /, **facts: object) -> None:
        """Log a change that an operator wants to find later."""
        self.write("info", event, facts)

    def warning(self, event: str, /, **facts: object) -> None:
        """Log something that works but should be looked at."""
        self.write("warning", event, facts)

    def error(self, event: str, /, **facts: object) -> None:
        """Log something that does not work."""
        self.write("error", event, facts)

    def write(self, level: Level, event: str, facts: Mapping[str, object]) -> None:
        """Write an event of a level."""
        raise NotImplementedError


@attrs.frozen(kw_only=True)
class Log(Leveled):
    """Writes events; `bind` returns a log that adds facts to each. Implements `spi.Logger`.

    A fact named `trace` that is an exception is written as its stack; for people at level debug only.
    """

    stream: TextIO = attrs.field(factory=lambda: sys.stderr)
    format: Format = "human"
    level: Level = "info"
    facts: Mapping[str, object] = attrs.field(factory=dict)
    now: Callable[[], datetime] = _utc_now

    def bind(self, **facts: object) -> "Log":
        """Return a log whose events also carry `facts`."""
        return attrs.evolve(self, facts={**self.facts, **facts})

    def writes(self, level: Level) -> bool:
        """Say whether events of a level are written."""
        return _ORDER[level] >= _ORDER[self.level]

    def write(self, level: Level, event: str, facts: Mapping[str, object]) -> None:
        """Write an event, if the level is high enough."""
        if not self.writes(level):
            return
        stamp = self.now().strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
        merged = {**self.facts, **facts}
        trace = merged.pop("trace", None)
        if self.format == "json":
            record: dict[str, object] = {"time": stamp, "level": level, "event": event}
            record.update({_free(key): _plain(value) for key, value in merged.items()})
            if isinstance(trace, BaseException):
                record["trace"] = "".join(traceback.format_exception(trace))
            # In ASCII, so that what is no Unicode (a file's name) is escaped and not a failed write.
            line = json.dumps(record)
        else:
            text = " ".join(f"{key}={_quoted(value)}" for key, value in merged.items())
            line = f"{stamp} {_LABEL[level]} {event} {text}".rstrip()
            if isinstance(trace, BaseException) and self.level == "debug":
                line += "\n" + "".join(traceback.format_exception(trace)).rstrip()
        try:
            self.stream.write(line + "\n")
            self.stream.flush()
        except (OSError, ValueError):
            # A closed or full log must never stop the router that writes it.
            return


def _free(key: str) -> str:
    """Return a key that takes no place of the event's own words."""
    return f"{key}_" if key in {"time", "level", "event"} else key


def _plain(value: object) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if isinstance(value, (bool, int, float, str, type(None))) else _text(value)


def _quoted(value: object) -> str:
    text = _text(value)
    if not text.isprintable():
        # Control characters move a terminal's cursor, and lone surrogates cannot be encoded.
        return json.dumps(text).replace("\x7f", "\\u007f")
    return json.dumps(text, ensure_ascii=False) if not text or any(c in text for c in ' "=') else text


def _text(value: object) -> str:
    try:
        return str(value)
    except Exception:  # noqa: BLE001 - whatever a value does in __str__ must not stop who logs it
        return f"<{type(value).__name__} that has no text>"
