"""The admin API: JSON over HTTP on a Unix socket that only root may open; never on TCP.

The handlers only translate: `AdminView`, which the daemon implements, returns reports, and
`wire` makes JSON of them.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol, cast

import attrs
from aiohttp import web

from routerd.control.ports import (
    ACTIONS_LIMIT,
    ACTIONS_MOST,
    AUDIT_LIMIT,
    AUDIT_MOST,
    PREFIX,
    ActionDesk,
    ClaimDesk,
    Decision,
)
from routerd.control.wire import Document, to_document
from routerd.errors import (
    ActionRefused,
    ConfigError,
    ControlError,
    EnrollmentRefused,
    PluginError,
    ProviderError,
    StoreError,
    words_of,
)
from routerd.model.addresses import IPNetwork
from routerd.model.claim import prefix
from routerd.model.report.claims import ClaimList, DecisionList
from routerd.model.report.explanation import Explanation
from routerd.model.report.plan import Plan
from routerd.model.report.resources import ResourceList
from routerd.model.report.status import Status
from routerd.model.subsystem import Flow
from routerd.spi import ControlRoute, JSONValue

CLAIM_UNKNOWN = "claim-unknown"
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class AdminView(Protocol):
    """The questions and commands that the daemon answers for an administrator."""

    async def status(self) -> Status:
        """Return the whole status."""

    async def resources(self) -> ResourceList:
        """Return every resource, as configured, with its status."""

    async def plan(self, file: Path | None = None) -> Plan:
        """Return what the daemon would change, now or with `file` as its configuration."""

    async def reload(self) -> None:
        """Read the configuration file again; `ConfigError` leaves everything as it was."""

    async def hurry(self) -> None:
        """Drop all pauses and retry everything at once."""

    async def metrics(self) -> str:
        """Return the metrics in the text format of Prometheus."""

    async def explain(self, target: IPNetwork, flow: Flow | None = None) -> Explanation:
        """Return step by step where packets to an address go, and whether they get there.

        `flow` says where they come from, and what they are.
        """


def admin_app(
    view: AdminView,
    desk: ClaimDesk,
    plugins: Mapping[str, Sequence[ControlRoute]],
    *,
    enrollment: web.Application | None = None,
    actions: ActionDesk | None = None,
) -> web.Application:
    """Return the application; `plugins` are the routes of each plugin by its name.

    `enrollment` are the routes of leaves, which root may use on this socket too, if this router
    admits leaves; `actions` decides on changes of clouds.
    """
    app = web.Application(middlewares=[_errors], client_max_size=1 << 20)
    if enrollment is not None:
        app.add_subapp(PREFIX, enrollment)

    async def status(_: web.Request) -> web.Response:
        return _answer(await view.status())

    async def resources(_: web.Request) -> web.Response:
        return _answer(await view.resources())

    async def plan(request: web.Request) -> web.Response:
        file = request.query.get("file")
        return _answer(await view.plan(Path(file) if file else None))

    async def reload(_: web.Request) -> web.Response:
        await view.reload()
        return web.json_response({"reloaded": True})

    async def hurry(_: web.Request) -> web.Response:
        await view.hurry()
        return web.json_response({})

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(text=await view.metrics(), headers={"Content-Type": METRICS_TYPE})

    async def explain(request: web.Request) -> web.Response:
        try:
            target = prefix(request.query.get("address", "").strip())
        except ValueError as error:
            raise ConfigError.single("request", f"address: {error}") from error
        return _answer(await view.explain(target, _flow(request, target)))

    app.router.add_get("/v1/status", status)
    app.router.add_get("/v1/resources", resources)
    app.router.add_get("/v1/plan", plan)
    app.router.add_post("/v1/reload", reload)
    app.router.add_post("/v1/hurry", hurry)
    app.router.add_get("/v1/metrics", metrics)
    app.router.add_get("/v1/explain", explain)
    add_claim_routes(app, desk)
    if actions is not None:
        add_action_routes(app, actions)
    for plugin, routes in plugins.items():
        for route in routes:
            path = f"/v1/plugins/{plugin}/{route.path.lstrip('/')}"
            app.router.add_route(route.method, path, _plugin_handler(route))
    return app


def add_claim_routes(app: web.Application, desk: ClaimDesk) -> None:
    """Add the questions and commands about claims."""

    async def claims(_: web.Request) -> web.Response:
        return _answer(ClaimList(items=tuple(await desk.claims())))

    async def claim(request: web.Request) -> web.Response:
        name = request.match_info["name"]
        found = [each for each in await desk.claims() if each.name == name]
        if not found:
            raise _unknown(name)
        # A claim that holds and its change that waits for approval have one name.
        return _answer(attrs.evolve(found[0], waiting=found[1] if len(found) > 1 else None))

    async def decide(request: web.Request) -> web.Response:
        reason = (await _body(request)).get("reason", "")
        if not isinstance(reason, str):
            raise ConfigError.single("request", "reason must be text")
        verb = cast("Decision", request.match_info["verb"])
        return _answer(await desk.decide(request.match_info["name"], verb, reason))

    async def audit(request: web.Request) -> web.Response:
        limit = _limit(request, AUDIT_LIMIT, AUDIT_MOST)
        claim = request.query.get("claim") or None
        return _answer(DecisionList(items=tuple(await desk.audit(limit=limit, claim=claim))))

    app.router.add_get("/v1/claims", claims)
    app.router.add_get("/v1/claims/{name}", claim)
    app.router.add_post("/v1/claims/{name}/{verb:approve|reject|revoke}", decide)
    app.router.add_get("/v1/enrollment-log", audit)


def add_action_routes(app: web.Application, desk: ActionDesk) -> None:
    """Add the questions and commands about changes of clouds."""

    async def listing(request: web.Request) -> web.Response:
        limit = _limit(request, ACTIONS_LIMIT, ACTIONS_MOST)
        return _answer(await desk.listing(profile=request.query.get("profile") or None, limit=limit))

    async def show(request: web.Request) -> web.Response:
        return _answer(await desk.show(request.match_info["action"]))

    async def approve(request: web.Request) -> web.Response:
        body = await _body(request)
        ids, every, profile = body.get("ids", []), body.get("all", False), body.get("profile")
        if not isinstance(ids, list) or not all(isinstance(each, str) for each in ids):
            raise ConfigError.single("request", "ids must be a list of texts")
        if not isinstance(every, bool) or not isinstance(profile, (str, type(None))):
            raise ConfigError.single("request", "all must be true or false, and profile a name")
        if bool(ids) == every:
            raise ConfigError.single("request", "give ids or all")
        return _answer(await desk.approve(cast("list[str]", ids), every=every, profile=profile or None))

    async def undo(request: web.Request) -> web.Response:
        number = (await _body(request)).get("number")
        if not isinstance(number, int) or isinstance(number, bool) or not 0 < number < 1 << 63:
            raise ConfigError.single("request", "number must be that of an entry of the journal")
        return _answer(await desk.undo(number))

    app.router.add_get("/v1/actions", listing)
    app.router.add_get("/v1/actions/{action}", show)
    app.router.add_post("/v1/actions/approve", approve)
    app.router.add_post("/v1/actions/undo", undo)


def _flow(request: web.Request, target: IPNetwork) -> Flow | None:
    """Return the flow that a question is about, none when it names no source."""
    asked = {name: request.query.get(name, "").strip() for name in ("from", "protocol", "port")}
    if not asked["from"]:
        return None
    try:
        source = prefix(asked["from"])
    except ValueError as error:
        raise ConfigError.single("request", f"from: {error}") from error
    if asked["port"] and not (asked["port"].isdecimal() and int(asked["port"]) < 1 << 16):
        raise ConfigError.single("request", "port must be a number up to 65535")
    return Flow(source=source, destination=target, protocol=asked["protocol"], port=int(asked["port"] or "0"))


def _limit(request: web.Request, usual: int, most: int) -> int:
    text = request.query.get("limit", str(usual))
    if not (text.isascii() and text.isdigit() and 0 < int(text) <= most):
        raise ConfigError.single("request", f"limit must be from 1 to {most}")
    return int(text)


def _answer(report: object) -> web.Response:
    return web.json_response(to_document(report))


def _unknown(name: str) -> EnrollmentRefused:
    return EnrollmentRefused(CLAIM_UNKNOWN, f"claim {name}: not known here; see `routerd enroll list`")


async def _body(request: web.Request) -> Document:
    if not request.can_read_body:
        return {}
    try:
        body = await request.json()
    except ValueError as error:
        raise ConfigError.single("request", "the body is not JSON") from error
    if not isinstance(body, dict):
        raise ConfigError.single("request", "the body must be a JSON object")
    return body


def _plugin_handler(route: ControlRoute) -> "web.Handler":  # type: ignore[name-defined]  # aiohttp exports no name for it
    async def handle(request: web.Request) -> web.Response:
        if route.method == "POST":
            return web.json_response(await route.handler(await _body(request)))
        return web.json_response(await route.handler(dict(request.query)))

    return handle


@web.middleware
async def _errors(request: web.Request, handler: "web.Handler") -> web.StreamResponse:  # type: ignore[name-defined]  # as above
    try:
        response: web.StreamResponse = await handler(request)
        return response
    except ConfigError as error:
        problems: list[JSONValue] = [str(problem) for problem in error.problems]
        return web.json_response({"error": str(error), "problems": problems}, status=400)
    except PluginError as error:
        return web.json_response({"error": str(error), "problems": [str(error)]}, status=400)
    except EnrollmentRefused as error:
        status = 404 if error.reason == CLAIM_UNKNOWN else 400
        return web.json_response({"error": str(error), "reason": error.reason}, status=status)
    except ActionRefused as error:
        return web.json_response({"error": str(error), "refused": True}, status=409)
    except ControlError as error:
        return web.json_response({"error": str(error)}, status=409)
    except (ProviderError, StoreError) as error:
        return web.json_response({"error": str(error)}, status=502)
    except web.HTTPException:
        raise
    except Exception as error:  # noqa: BLE001 - the asker must learn what failed, not that something did
        return web.json_response({"error": f"{request.path}: {words_of(error)}"}, status=500)


async def serve_admin(app: web.Application, path: Path) -> web.AppRunner:
    """Serve `app` on the Unix socket `path` (mode 0600), replacing a dead one."""
    runner = web.AppRunner(app, access_log=None, handle_signals=False)
    await runner.setup()
    try:
        path.unlink(missing_ok=True)
        await web.UnixSite(runner, str(path)).start()
        path.chmod(0o600)
    except OSError as error:
        await runner.cleanup()
        raise ControlError(
            f"admin socket {path}: cannot be opened; {error.strerror}; name another directory with --run-dir"
        ) from error
    return runner
