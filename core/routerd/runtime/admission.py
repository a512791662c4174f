"""The route reflector's door: the enrollment listener as the configuration asks for it."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web

from routerd.control.enrollment import (
    Doorkeeper,
    enrollment_app,
    enrollment_for_root,
    serve_enrollment,
    server_tls,
)
from routerd.control.rate_limit import RateLimit
from routerd.errors import ConfigError, ControlError
from routerd.model.intent import Intent
from routerd.model.specs import ControlAPISpec
from routerd.runtime import secrets
from routerd.runtime.desk import Desk
from routerd.spi import Clock, Enrollment, Logger
from routerd.store import Store

RETRY_SECONDS = 5.0


class Admission:
    """Keeps the listener open that the configuration asks for; `trouble` says why it is not.

    The port may be taken, the token file missing, when the daemon starts: that must not keep the
    rest of the router from working, so it is tried again until it succeeds.
    """

    def __init__(
        self,
        *,
        store: Store,
        intent: Callable[[], Intent],
        enrollment: Enrollment | None,
        clock: Clock,
        log: Logger,
        on_change: Callable[[], None],
    ) -> None:
        self._intent = intent
        self._clock = clock
        self._log = log
        self._runner: web.AppRunner | None = None
        self._serving: ControlAPISpec | None = None
        self.trouble = ""
        self._desk = (
            Desk(store=store, intent=intent, enrollment=enrollment, clock=clock, log=log, on_change=on_change)
            if enrollment is not None
            else None
        )

    @property
    def listening(self) -> str:
        """Return the address and port that are listened on, or nothing."""
        spec = self._serving
        return f"{spec.listen_address}:{spec.port}" if spec is not None else ""

    @property
    def desk(self) -> Desk:
        """Return who decides on claims; `ControlError` when no plugin provides a join method."""
        if self._desk is None:
            raise ControlError("this router admits no claims: no plugin provides a join method")
        return self._desk

    def for_root(self) -> web.Application | None:
        """Return the routes of leaves for the admin socket, if anybody decides on claims."""
        return enrollment_for_root(self._desk, log=self._log) if self._desk is not None else None

    async def run(self) -> None:
        """Open, keep and reopen the listener until cancelled."""
        try:
            while True:
                await self._follow()
                await self._clock.sleep(RETRY_SECONDS if self.trouble else 1.0)
        finally:
            await self._close()
            if self._desk is not None:
                await self._desk.aclose()

    async def _follow(self) -> None:
        found = self._intent().first(ControlAPISpec)
        wanted = found.spec if found is not None and found.spec.enabled else None
        if wanted == self._serving:
            return
        await self._close()
        if wanted is None:
            self.trouble = ""
            return
        try:
            await self._open(wanted)
        except (ConfigError, ControlError) as error:
            if self.trouble != str(error):
                self._log.error("enrollment.listener.failed", error=str(error))
            self.trouble = str(error)
            return
        self.trouble = ""
        self._log.info("enrollment.listening", address=self.listening, tls=wanted.tls is not None)

    async def _open(self, spec: ControlAPISpec) -> None:
        if self._desk is None:
            raise ControlError(
                "ControlAPI needs a plugin that provides a join method, such as enrollment_token"
            )
        doorkeeper = Doorkeeper(
            allow=spec.allow_cidrs,
            limit=RateLimit(clock=self._clock),
            token=secrets.resolve(spec.token_from) if spec.token_from is not None else None,
            client_certificates=spec.tls is not None and spec.tls.client_ca_file is not None,
        )
        tls = server_tls(spec.tls) if spec.tls is not None else None
        app = enrollment_app(self._desk, doorkeeper, clock=self._clock, log=self._log)
        self._runner = await serve_enrollment(app, address=spec.listen_address, port=spec.port, tls=tls)
        self._serving = spec

    async def _close(self) -> None:
        runner, self._runner, self._serving = self._runner, None, None
        if runner is not None:
            await runner.cleanup()
