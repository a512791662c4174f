"""The keeper of the enrollment listener: it opens, renews and closes it as the configuration says."""

import resource
from collections.abc import Callable
from datetime import timedelta

from aiohttp import web

from routerd.admission import listener_files
from routerd.admission.desk import Desk
from routerd.admission.listener_files import ListenerFiles
from routerd.control.enrollment import AccessRules, enrollment_app, enrollment_for_root, serve_enrollment
from routerd.control.listener import Listener
from routerd.control.rate_limit import ConnectionLimit, RateLimit
from routerd.errors import ConfigError, ControlError
from routerd.model.claim import AdmittedClaim
from routerd.model.intent import Intent
from routerd.model.specs import ControlAPISpec
from routerd.plugins.join_methods import JoinMethods
from routerd.spi import Clock, Logger
from routerd.store import Store

RETRY_SECONDS = 5.0
WATCH_SECONDS = 3.0
"""Minimum seconds between two looks at the files of the listener."""

WARN_BEFORE = timedelta(days=14)

MOST_CONNECTIONS = 2048
STRANGERS = 64
"""Connections from outside of allowCIDRs. They get an answer, and take no place of the others."""


class ListenerKeeper:
    """Keeps the configured listener open; `trouble` says why it is closed.

    The port may be taken, or the token file missing, when the daemon starts. The rest of the router
    must work anyway, so the keeper retries until it succeeds. When a file of an open listener
    changes, its content counts for new connections. While the content is unusable the earlier one
    counts, and `trouble` says so. `desk` decides on claims.
    """

    def __init__(
        self,
        *,
        store: Store,
        intent: Callable[[], Intent],
        methods: JoinMethods,
        clock: Clock,
        log: Logger,
        on_change: Callable[[tuple[AdmittedClaim, ...]], None],
    ) -> None:
        self._intent = intent
        self._clock = clock
        self._log = log
        self._open: _Open | None = None
        self._watched = 0.0
        self._said_of_end = ""
        self.trouble = ""
        self.desk = Desk(
            store=store, intent=intent, methods=methods, clock=clock, log=log, on_change=on_change
        )

    @property
    def listening(self) -> str:
        """Return the address and port of the open listener, or an empty text."""
        spec = self._open.spec if self._open is not None else None
        return f"{spec.listen_address}:{spec.port}" if spec is not None else ""

    def for_root(self) -> web.Application:
        """Return the routes of leaves for the admin socket."""
        return enrollment_for_root(self.desk, log=self._log)

    def notes(self) -> list[str]:
        """Return what works now and will soon fail."""
        end = self._end()
        return [*([end] if end else []), *self.desk.warnings()]

    async def run(self) -> None:
        """Open, keep and reopen the listener until cancelled."""
        try:
            while True:
                await self._follow()
                await self._clock.sleep(RETRY_SECONDS if self.trouble and self._open is None else 1.0)
        finally:
            await self._close()
            await self.desk.aclose()

    async def _follow(self) -> None:
        found = self._intent().first(ControlAPISpec)
        wanted = found.spec if found is not None and found.spec.enabled else None
        if self._open is None or wanted != self._open.spec:
            await self._reopen(wanted)
        elif self._clock.monotonic() - self._watched >= WATCH_SECONDS:
            await self._watch(self._open)
        end = self._end()
        if end and end != self._said_of_end:
            self._log.warning("enrollment.certificate.ends", note=end)
        self._said_of_end = end

    async def _reopen(self, wanted: ControlAPISpec | None) -> None:
        await self._close()
        if wanted is None:
            self.trouble = ""
            return
        try:
            self._open = await self._listen(wanted)
        except (ConfigError, ControlError) as error:
            self._complain("enrollment.listener.failed", str(error))
            return
        self.trouble = ""
        self._watched = self._clock.monotonic()
        self._log.info("enrollment.listening", address=self.listening, tls=wanted.tls is not None)

    async def _listen(self, spec: ControlAPISpec) -> "_Open":
        seen = listener_files.stamp(spec)
        used = listener_files.read(spec)
        access = AccessRules(
            allow=spec.allow_cidrs,
            limit=RateLimit(clock=self._clock),
            token=used.token,
            client_certificates=spec.tls is not None and spec.tls.client_ca_file is not None,
        )
        known, strangers = ConnectionLimit(total=_room()), ConnectionLimit(total=STRANGERS, each=4)
        listener = await serve_enrollment(
            enrollment_app(self.desk, access, clock=self._clock, log=self._log),
            address=spec.listen_address,
            port=spec.port,
            tls=used.tls,
            connections=lambda source: known if access.source_allowed(source) else strangers,
        )
        return _Open(spec, access, listener, used, seen)

    async def _watch(self, it: "_Open") -> None:
        self._watched = self._clock.monotonic()
        seen = listener_files.stamp(it.spec)
        if seen == it.seen and not self.trouble:
            return
        try:
            used = listener_files.read(it.spec)
            if used.tls is not None:
                await it.listener.use(used.tls)
        except (ConfigError, ControlError) as error:
            self._complain(
                "enrollment.files.unusable",
                f"{error}; routerd uses the earlier content until the file is right",
            )
            return
        it.access.token = used.token
        it.used, it.seen = used, seen
        self.trouble = ""
        self._log.info("enrollment.files.read", address=self.listening)

    def _complain(self, event: str, trouble: str) -> None:
        if self.trouble != trouble:
            self._log.error(event, error=trouble)
        self.trouble = trouble

    def _end(self) -> str:
        if self._open is None or self._open.used.ends is None or self._open.spec.tls is None:
            return ""
        ends, now = self._open.used.ends, self._clock.now()
        if now < ends - WARN_BEFORE:
            return ""
        file, when = self._open.spec.tls.cert_file, f"{ends:%Y-%m-%dT%H:%M:%SZ}"
        verb = "expires at" if now < ends else "expired, so leaves refuse it, at"
        return f"enrollment listener: certificate {file} {verb} {when}; replace the file"

    async def _close(self) -> None:
        closing, self._open = self._open, None
        if closing is not None:
            await closing.listener.cleanup()


class _Open:
    """An open listener, with the content of its files."""

    def __init__(
        self,
        spec: ControlAPISpec,
        access: AccessRules,
        listener: Listener,
        used: ListenerFiles,
        seen: listener_files.Stamp,
    ) -> None:
        self.spec = spec
        self.access = access
        self.listener = listener
        self.used = used
        self.seen = seen


def _room() -> int:
    """Return the limit of connections, after asking the system for as many files.

    The rest of the router keeps half of the files.
    """
    wanted = 2 * MOST_CONNECTIONS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return MOST_CONNECTIONS
    soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return soft // 2
