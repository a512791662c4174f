"""The daemon: it checks everything, joins the parts, and runs until a signal stops it."""

import asyncio
import os
import signal

import attrs

from routerd.admission.listener import ListenerKeeper
from routerd.control.admin import admin_app, serve_admin
from routerd.errors import ConfigError, PluginError
from routerd.kernel.events import KernelEvents
from routerd.leaf.memberships import Memberships
from routerd.plugins.host import packages
from routerd.process.ending import end_tasks, run_to_end
from routerd.process.log import Log
from routerd.process.systemd import notify
from routerd.process.watchdog import THREAD_SECONDS, Watchdog
from routerd.reconcile.derive.underlay import route_metrics
from routerd.runtime import secret_files
from routerd.runtime.admin_view import View, needs_restart, restart_reason
from routerd.runtime.assembly import Assembly, assembled, only_one
from routerd.runtime.cloud_actions import Actions
from routerd.runtime.control_routes import contained_routes
from routerd.runtime.invocation import Command
from routerd.runtime.subsystem_tables import judge

WATCH_SECONDS = 2.0
"""Minimum seconds between two readiness checks."""


def run(command: Command, log: Log) -> None:
    """Run until SIGTERM or SIGINT; SIGHUP reloads the file. The data plane stays as it is.

    Raises `ConfigError`, `PluginError`, `ControlError` and `StoreError` before anything is touched.
    """
    watchdog = Watchdog(log)
    run_to_end(_run(command, log, watchdog), watchdog)


async def _run(command: Command, log: Log, watchdog: Watchdog) -> None:
    prepared = command.prepare()
    secret_files.check(prepared)
    watchdog.plugins = packages(prepared.host.plugins)
    watchdog.start()
    for warning in prepared.configuration.warnings:
        log.warning("config.warning", text=str(warning))
    command.directories.make()
    with only_one(command.directories, log):
        passed = asyncio.Event()
        async with assembled(prepared, command.directories, log, on_pass=passed.set) as assembly:
            await _Daemon(command, assembly, passed, watchdog).main()
    log.info("stopped")
    await end_tasks(log)
    # Only threads are left, and the interpreter waits for each that is not a daemon.
    watchdog.expect_end(THREAD_SECONDS)


class _Daemon:
    def __init__(
        self, command: Command, assembly: Assembly, passed: asyncio.Event, watchdog: Watchdog
    ) -> None:
        self._watchdog = watchdog
        self._command = command
        self._assembly = assembly
        self._router = assembly.router
        self._passed = passed
        self._log = assembly.log
        self._stop = asyncio.Event()
        self._reloading = asyncio.Lock()
        methods = assembly.made.enrollments
        self._memberships = Memberships(
            store=assembly.store,
            methods=methods,
            supervisor=assembly.supervisor,
            clock=assembly.clock,
            log=self._log,
            on_change=self._router.refresh,
            on_claim=self._router.own_claim,
        )
        self._admission = ListenerKeeper(
            store=assembly.store,
            intent=lambda: self._router.prepared.intent,
            methods=methods,
            clock=assembly.clock,
            log=self._log,
            on_change=self._router.admit,
        )
        # A claim that the desk has quarantined counts as absent; the store still has it.
        self._router.admit(self._admission.desk.admitted())
        self._events = KernelEvents(
            lambda: self._router.wake("host"),
            clock=assembly.clock,
            log=self._log,
            on_links=self._router.links_changed,
            on_foreign=lambda: self._router.loop.retry_role("routes"),
            metrics=lambda: route_metrics(self._router.prepared.intent),
        )
        self._view = View(assembly, self._admission, self._memberships, watchdog, reload=self._reload)

    async def main(self) -> None:
        self._log.info(
            "starting",
            node=self._router.prepared.configuration.node,
            config=self._router.prepared.configuration.file,
            plugins=",".join(plugin.info.name for plugin in self._router.prepared.host.plugins),
        )
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        loop.add_signal_handler(signal.SIGHUP, self._on_hangup)
        routes = contained_routes(
            self._router.prepared.host.plugins, self._assembly.made.subsystems, log=self._log
        )
        actions = Actions(
            self._router, self._assembly.store.journal, clock=self._assembly.clock, log=self._log
        )
        app = admin_app(
            self._view,
            self._admission.desk,
            routes,
            enrollment=self._admission.for_root(),
            actions=actions,
        )
        admin = await serve_admin(app, self._assembly.directories.admin_socket)
        supervisor = self._assembly.supervisor
        try:
            await self._router.start()
            await self._memberships.follow(self._router.prepared.intent)
            supervisor.keep("enrollment listener", self._admission.run)
            supervisor.keep("kernel events", self._events.run)
            supervisor.keep("phase", self._watch_phase)
            supervisor.keep("expiry", self._watch_expiry)
            supervisor.keep("watchdog", self._feed_watchdog)
            await self._stop.wait()
            self._watchdog.expect_end()
            notify("STOPPING=1")
            self._log.info("stopping")
        finally:
            await admin.cleanup()
            self._assembly.directories.admin_socket.unlink(missing_ok=True)

    # --- reload ----------------------------------------------------------------------------------------

    def _on_hangup(self) -> None:
        if not self._assembly.supervisor.running("reload"):
            self._assembly.supervisor.spawn("reload", self._reload_and_report())

    async def _reload_and_report(self) -> None:
        try:
            await self._reload()
        except (ConfigError, PluginError) as error:
            problems = error.problems if isinstance(error, ConfigError) else (error,)
            for problem in problems:
                self._log.error("reload.refused", problem=str(problem))

    async def _reload(self) -> None:
        """Use the file as it is now; raise and change nothing when it has an error."""
        async with self._reloading:
            notify("RELOADING=1")
            try:
                prepared = await asyncio.to_thread(self._command.prepare)
                if why := restart_reason(self._router.prepared, prepared):
                    raise needs_restart(prepared, why)
                await asyncio.to_thread(secret_files.check, prepared)
                judge(prepared, self._router.inputs(prepared))
                await self._router.remaker.remake(attrs.evolve(self._assembly.factory, prepared=prepared))
                self._assembly.made.enrollments.use(prepared.join_options)
                self._router.replace(prepared)
                await self._memberships.follow(prepared.intent)
            finally:
                notify("READY=1")
        self._log.info("reloaded", config=prepared.configuration.file)

    # --- watching ----------------------------------------------------------------------------------------

    async def _watch_phase(self) -> None:
        """Report readiness and its reasons to systemd and the log, and obstacles to the log."""
        said: list[str] | None = None
        noted: set[str] = set()
        while True:
            await self._passed.wait()
            self._passed.clear()
            why = await self._view.reasons()
            if said is None:
                notify("READY=1")
            if why != said:
                if not why:
                    self._log.info("ready")
                elif not said:
                    self._log.info("not.ready", why=why[0], reasons=len(why))
                notify(f"STATUS={'Ready' if not why else why[0]}")
            said = why
            found = set(await self._view.notes())
            for text in sorted(found - noted):
                self._log.warning("attention", text=text)
            noted = found
            await self._assembly.clock.sleep(WATCH_SECONDS)
            if why:
                # A session comes up, or a reflector accepts a claim, without a pass of the loop.
                self._passed.set()

    async def _watch_expiry(self) -> None:
        """Wake the loop when an admitted claim ends."""
        while True:
            now = self._assembly.clock.now()
            ends = [each.expires_at for each in self._router.knowledge.claims if each.expires_at is not None]
            ahead = (
                min((end - now).total_seconds() for end in ends if end > now)
                if any(end > now for end in ends)
                else 60.0
            )
            await self._assembly.clock.sleep(min(ahead + 0.1, 60.0))
            if ahead < 60.0:
                self._log.info("claim.expired")
                self._router.wake()

    async def _feed_watchdog(self) -> None:
        """Feed the watchdog of systemd (`WatchdogSec=` of the unit) from the event loop."""
        microseconds = int(os.environ.get("WATCHDOG_USEC", "0") or 0)
        while True:
            notify("WATCHDOG=1")
            await self._assembly.clock.sleep(microseconds / 3e6 if microseconds else 3600.0)
