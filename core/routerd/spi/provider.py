"""The description of a provider: its kind, its needs, and its factory."""

import enum
from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

import attrs

from routerd.errors import PluginError
from routerd.spi.context import PluginContext

API_VERSION = (1, 0)
"""Version of the plugin contract: the major is also in the entry-point group's name."""

ENTRY_POINT_GROUP = f"routerd.plugins.v{API_VERSION[0]}"

P = TypeVar("P", covariant=True)


class Capability(enum.Enum):
    """An ability of a provider beyond its family's Protocol."""

    BGP = "bgp"
    """A routing with a speaker, sessions and import policies: `BgpRouting`."""
    ENCRYPTS = "encrypts"
    """A transport with a `peers` table: `EncryptingTransport`."""
    USERSPACE = "userspace"
    """A transport that can run without the kernel's module."""
    IN_GUEST_ROUTES = "in-guest-routes"
    """A fabric that has no route tables of its own and writes routes into guests."""
    SHARES_SITE = "shares-site"
    """A fabric that can take over from the site's other routers: `SharedFabric`."""
    DIAGNOSES = "diagnoses"
    """A fabric that can check its own permissions: `DiagnosingFabric`."""
    SHOWS_PAYLOAD = "shows-payload"
    """A join method that can show what it signs: `PayloadEnrollment`."""


@attrs.frozen
class NoOptions:
    """The options of a provider or plugin without options."""


@attrs.frozen(kw_only=True)
class PluginInfo:
    """The identity of a plugin: `name` equals its entry point, `api` is the version of its contract.

    Write `api` as a literal such as `(1, 0)`: `API_VERSION` is the version of the routerd that reads it.
    `config` is the `attrs` class of its section below `plugins:` in the configuration file.
    """

    name: str
    summary: str
    api: tuple[int, int]
    config: type[object] = NoOptions


class Lifecycle(Protocol):
    """The start and end of every provider."""

    async def start(self) -> None:
        """Open clients, check the host; change nothing outside this process.

        Raises `ProviderError`; the core retries later and shows the reason.
        """

    async def aclose(self) -> None:
        """Close clients and tasks; leave the data plane as it is."""


@attrs.frozen(kw_only=True)
class Provider(Generic[P]):
    """A provider described: its kind, its options, and the function that makes it.

    `kind` is unique in its family among the enabled plugins: a transport's mode, `bgp`, the name
    of a join method, or a cloud. `options` is the `attrs` class of the value passed to `create`:
    for a fabric the schema of `CloudProviderProfile.spec.options`; for every other family the
    plugin's own `PluginInfo.config`. The core calls `make`, so `create` need not check its options.
    """

    kind: str
    create: Callable[[PluginContext, Any], P]  # Any: an instance of `options`
    options: type[object] = NoOptions
    capabilities: frozenset[Capability] = frozenset()

    def make(self, context: PluginContext, options: object) -> P:
        """Call `create`; raises `PluginError` when `options` are of another class."""
        if not isinstance(options, self.options):
            found = type(options).__name__
            raise PluginError(f"{context.plugin}: options must be {self.options.__name__}, got {found}")
        return self.create(context, options)
