"""Another transport or join method in place of the one that the examples name.

The lab knows neither: it looks the name up among the installed plugins, enables the plugin that provides
it, and asks a join method for the keys that a new fabric needs (`JoinMethod.trial`). Nothing here writes.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import metadata
from itertools import chain
from pathlib import PurePath
from typing import Any, Literal

import attrs
import pluggy
import yaml

from routerd import hookspecs
from routerd.errors import PluginError, words_of
from routerd.model import specs
from routerd.spi import ENTRY_POINT_GROUP, JoinEnd, JoinMethod, JoinTrial, TransportMode
from routerd_lab.routers import ETC_DIR, RouterFiles

Resource = dict[str, Any]  # Any: a resource as YAML has it
Family = Literal["transports", "enrollments"]

_NOUNS: Mapping[Family, str] = {"transports": "transport", "enrollments": "join method"}
_SECRETS = ETC_DIR / "secrets"
_JOINING = ("SAMEnrollmentPolicy", "SAMEnrollmentClient")
_JOIN_METHOD = attrs.fields(specs.SAMEnrollmentClientSpec).join_method.default
_ENCRYPTION = attrs.fields(specs.WireGuardInterfaceSpec).mode.default
_RESERVED = ("join-token", "pve-token")


def exchanged(files: Mapping[str, RouterFiles], *, transport: str, join: str) -> dict[str, RouterFiles]:
    """Return the files of all routers with the named parts; an empty name changes nothing.

    The transport takes the place of that of every tunnel inside of an encrypting one. Raises
    `PluginError` when no installed plugin provides a name, or a join method makes no keys.
    """
    if not transport and not join:
        return dict(files)
    installed = Installed.read()
    documents = {name: yaml.safe_load(each.config) for name, each in files.items()}
    enabled: list[str] = []
    secrets: dict[str, Mapping[str, bytes]] = {}
    if transport:
        enabled.append(installed.provider_of("transports", transport).plugin)
        for spec in _specs(documents.values(), "SAMTransportProfile"):
            if spec.get("encryption", "none") != "none":
                spec["mode"] = transport
    if join:
        offer = installed.provider_of("enrollments", join)
        enabled.append(offer.plugin)
        method = next(each for each in offer.enrollments if each.kind == join)
        secrets = _join_by(documents, method, offer.plugin)
    for document in documents.values():
        document["plugins"] = _plugins_of(document, enabled, installed)
    return {
        name: RouterFiles(
            config=yaml.safe_dump(document, sort_keys=False, width=110), secrets=secrets.get(name, {})
        )
        for name, document in documents.items()
    }


@attrs.frozen(kw_only=True)
class Offer:
    """What an installed plugin provides, as far as it matters here."""

    plugin: str
    transports: tuple[TransportMode, ...] = ()
    enrollments: tuple[JoinMethod, ...] = ()
    more: bool = False

    def kinds(self, family: Family) -> list[str]:
        """Return the names that it provides in a family."""
        return [each.kind for each in getattr(self, family)]


@attrs.frozen(kw_only=True)
class Installed:
    """Every installed plugin that can be asked, and the faults of the others."""

    offers: tuple[Offer, ...]
    faults: tuple[str, ...]

    @classmethod
    def read(cls) -> "Installed":
        """Ask each installed plugin, one by one: two that cannot be enabled together do no harm here."""
        offers: list[Offer] = []
        faults: list[str] = []
        for entry in sorted(metadata.entry_points(group=ENTRY_POINT_GROUP), key=lambda each: each.name):
            try:
                offers.append(_ask(entry))
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # noqa: BLE001 - foreign code may leave the process, too
                faults.append(f"plugin {entry.name} cannot be asked: {words_of(error)}")
        return cls(offers=tuple(offers), faults=tuple(faults))

    def provider_of(self, family: Family, kind: str) -> Offer:
        """Return the plugin that provides `kind`; `PluginError` when there is none, or more than one."""
        noun = _NOUNS[family]
        found = [offer for offer in self.offers if kind in offer.kinds(family)]
        if len(found) == 1:
            return found[0]
        if found:
            names = " and ".join(offer.plugin for offer in found)
            raise PluginError(f"{noun} {kind}: {names} provide it; uninstall one of them")
        listed = [f"{each} by {offer.plugin}" for offer in self.offers for each in offer.kinds(family)]
        said = f"{noun} {kind}: no installed plugin provides it (installed: {', '.join(listed) or 'none'})"
        raise PluginError("; ".join([said, *self.faults, "install its plugin, or choose another name"]))


def _ask(entry: metadata.EntryPoint) -> Offer:
    """Import a plugin and call its hooks; the daemons will judge the answers."""
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    manager.register(entry.load(), name=entry.name)
    hook = manager.hook
    return Offer(
        plugin=entry.name,
        transports=tuple(chain(*hook.routerd_transports())),
        enrollments=tuple(chain(*hook.routerd_enrollments())),
        more=any(map(len, chain(hook.routerd_routings(), hook.routerd_fabrics()))),
    )


def _plugins_of(document: Resource, enabled: Sequence[str], installed: Installed) -> list[str]:
    """Return the plugins of a file: those of before that it still needs, and the new ones."""
    listed: list[str] = document["plugins"]
    used = {spec.get(name) for spec in _specs([document]) for name in ("mode", "encryption")}
    used |= {spec.get("mode", _ENCRYPTION) for spec in _specs([document], "WireGuardInterface")}
    used |= {spec.get("joinMethod", _JOIN_METHOD) for spec in _specs([document], *_JOINING)}
    idle = set()
    for offer in installed.offers:
        provided = {*offer.kinds("transports"), *offer.kinds("enrollments")}
        if provided and not offer.more and not provided & used:
            idle.add(offer.plugin)
    return list(dict.fromkeys([*(name for name in listed if name not in idle), *enabled]))


def _specs(documents: Iterable[Resource], *kinds: str) -> Iterator[Resource]:
    """Yield the `spec` of each resource of the kinds, of every resource without kinds."""
    for document in documents:
        for resource in document["spec"]["resources"]:
            if not kinds or resource["kind"] in kinds:
                yield resource["spec"]


def _join_by(
    documents: Mapping[str, Resource], method: JoinMethod, plugin: str
) -> dict[str, Mapping[str, bytes]]:
    """Write the method into policies and clients; return the secrets that it needs, by router."""
    leaves = {
        name: claim["leafID"]
        for name, document in documents.items()
        for claim in _specs([document], "SAMEnrollmentClaim")
    }
    trial = _trial(method, plugin, sorted(leaves.values()))
    secrets: dict[str, Mapping[str, bytes]] = {}
    for name, document in documents.items():
        end = trial.policy if name not in leaves else trial.clients[leaves[name]]
        secrets[name] = end.files
        for spec in _specs([document], *_JOINING):
            spec["joinMethod"] = method.kind
            if not method.shared_secret:
                spec.pop("joinTokenFrom", None)
            if end.options:
                spec["joinOptions"] = dict(end.options)
    return secrets


def _trial(method: JoinMethod, plugin: str, leaves: Sequence[str]) -> JoinTrial:
    """Ask the method for keys; a method without `trial` needs none."""
    who = f"join method {method.kind} (plugin {plugin})"
    if method.trial is None:
        return JoinTrial(policy=JoinEnd(), clients=dict.fromkeys(leaves, JoinEnd()))
    try:
        found: object = method.trial(leaves, _SECRETS)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise PluginError(f"{who}: trial failed: {words_of(error)}") from error
    if not isinstance(found, JoinTrial):
        raise PluginError(f"{who}: trial failed: it returned a {type(found).__name__}, not a JoinTrial")
    if missing := [leaf for leaf in leaves if leaf not in found.clients]:
        raise PluginError(f"{who}: trial failed: it made nothing for leaf {missing[0]}")
    names = [name for end in (found.policy, *found.clients.values()) for name in end.files]
    if wrong := [name for name in names if name in _RESERVED or PurePath(name).name != name]:
        raise PluginError(f"{who}: trial failed: {wrong[0]!a} is not a free name of a file; choose another")
    return found
