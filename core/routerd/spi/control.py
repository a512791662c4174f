"""The routes that a plugin adds to the daemon's admin API."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Literal

import attrs

from routerd.model.json_value import JSONValue


@attrs.frozen(kw_only=True)
class ControlRoute:
    """One route below `/v1/plugins/<plugin>/` of the admin socket.

    `handler` gets the query or the JSON body as a mapping and returns the JSON of the answer. A
    `ProviderError` becomes HTTP 502, a `ConfigError` 400.
    """

    method: Literal["GET", "POST"]
    path: str
    handler: Callable[[Mapping[str, JSONValue]], Awaitable[JSONValue]]
