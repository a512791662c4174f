"""The control routes of the plugins, each call with a deadline and a name for its failure."""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence

import attrs

from routerd.errors import ConfigError, ProviderError, TransientError
from routerd.plugins.loading import LoadedPlugin
from routerd.reconcile.guard import asked, of_plugin
from routerd.spi import ControlRoute, JSONValue, Logger

DEADLINE = 10.0
"""Maximum seconds of one request to a plugin."""

Handler = Callable[[Mapping[str, JSONValue]], Awaitable[JSONValue]]


def contained_routes(
    plugins: Sequence[LoadedPlugin], *, log: Logger, deadline: float = DEADLINE
) -> dict[str, Sequence[ControlRoute]]:
    """Return the routes by plugin; their handlers raise only `ProviderError` and `ConfigError`."""
    return {
        plugin.info.name: [
            attrs.evolve(route, handler=_contained(plugin.info.name, route, log, deadline))
            for route in plugin.control_routes
        ]
        for plugin in plugins
    }


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
