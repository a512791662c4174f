"""The control routes of the plugins, each call with a deadline and a name for its failure."""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence

import attrs

from routerd.errors import ConfigError, PluginError, ProviderError, TransientError, words_of
from routerd.plugins.loading import LoadedPlugin
from routerd.plugins.subsystems import MadeSubsystem
from routerd.reconcile.guard import asked, of_plugin, sequence_of
from routerd.spi import ControlRoute, JSONValue, Logger

DEADLINE = 10.0
"""Maximum seconds of one request to a plugin."""

Handler = Callable[[Mapping[str, JSONValue]], Awaitable[JSONValue]]


def contained_routes(
    plugins: Sequence[LoadedPlugin],
    subsystems: Mapping[str, MadeSubsystem],
    *,
    log: Logger,
    deadline: float = DEADLINE,
) -> dict[str, Sequence[ControlRoute]]:
    """Return the routes by plugin; their handlers raise only `ProviderError` and `ConfigError`.

    Those of a subsystem are answered by its provider of the moment; `PluginError` when it cannot name them.
    """
    found = {plugin.info.name: list(plugin.control_routes) for plugin in plugins}
    for kind, subsystem in subsystems.items():
        found[subsystem.plugin] += [
            attrs.evolve(route, handler=_of_present(subsystems, kind, route))
            for route in routes_of(subsystem)
        ]
    return {
        name: [attrs.evolve(route, handler=_contained(name, route, log, deadline)) for route in routes]
        for name, routes in found.items()
    }


def routes_of(subsystem: MadeSubsystem) -> tuple[ControlRoute, ...]:
    """Return the control routes of a subsystem's provider; `PluginError` when it fails."""
    try:
        return sequence_of(ControlRoute, subsystem.provider.control_routes())
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        who = f"plugin {subsystem.plugin}: subsystem {subsystem.described.kind}"
        raise PluginError(f"{who}: `control_routes` failed: {words_of(error)}") from error


def _of_present(subsystems: Mapping[str, MadeSubsystem], kind: str, route: ControlRoute) -> Handler:
    """Return a handler that asks the provider of the moment; a reload may have replaced it."""

    async def handle(request: Mapping[str, JSONValue]) -> JSONValue:
        for each in routes_of(subsystems[kind]):
            if (each.method, each.path) == (route.method, route.path):
                return await each.handler(request)
        raise TransientError("the route is gone since the reload; restart routerd")

    return handle


def _contained(plugin: str, route: ControlRoute, log: Logger, deadline: float) -> Handler:
    name = f"route {route.method} {route.path}"

    async def handle(request: Mapping[str, JSONValue]) -> JSONValue:
        async def call() -> JSONValue | ConfigError:
            try:
                answer = await route.handler(request)
            except ConfigError as error:
                return error
            json.dumps(answer)
            return answer

        try:
            found = await asked(
                call, log=log, table=name, call="ask", what="handler", deadline=deadline, plugin=plugin
            )
        except ProviderError as error:
            raise TransientError(f"{of_plugin(name, plugin)}: {error}") from error
        if isinstance(found, ConfigError):
            raise found
        return found

    return handle
