"""What subsystems find wrong with the resources of their kinds."""

from collections.abc import Iterator, Mapping

from routerd import config
from routerd.errors import PluginError, Problem
from routerd.model.intent import Intent
from routerd.model.subsystem import FabricFacts
from routerd.plugins.host import PluginHost
from routerd.plugins.loading import LoadedPlugin
from routerd.spi import Resources, SubsystemType


def resources_of(described: SubsystemType, intent: Intent) -> Resources:
    """Return the resources of a subsystem's kinds, in the order of the file."""
    kinds = {(kind.api_version, kind.kind) for kind in described.kinds}
    return tuple(each for each in intent.resources if (each.id.api_version, each.id.kind) in kinds)


def problems(configuration: config.Configuration, host: PluginHost) -> Iterator[Problem]:
    """Yield what subsystems find wrong with a file; a `check` that fails is a problem itself."""
    try:
        yield from found(host.subsystems(), configuration.intent, None)
    except PluginError as error:
        yield Problem(file=configuration.file, line=0, resource="", path="plugins", message=str(error))


def found(
    subsystems: Mapping[str, tuple[LoadedPlugin, SubsystemType]], intent: Intent, facts: FabricFacts | None
) -> Iterator[Problem]:
    """Yield what subsystems find wrong with their resources; `PluginError` names one that fails."""
    for plugin, described in subsystems.values():
        try:
            answer: tuple[object, ...] = tuple(described.check(resources_of(described, intent), facts))
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            who = f"plugin {plugin.info.name}: subsystem {described.kind}"
            raise PluginError(f"{who}: `check` failed: {error!r}") from error
        for problem in answer:
            if not isinstance(problem, Problem):
                who = f"plugin {plugin.info.name}: subsystem {described.kind}"
                raise PluginError(f"{who}: `check` yielded {problem!r}, not a Problem")
            yield problem
