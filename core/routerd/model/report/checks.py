"""What commands find without a daemon: the installed plugins, the clouds of a file, the file itself."""

import attrs

from routerd.model.fabric import Finding, Nic


@attrs.frozen(kw_only=True)
class PluginOption:
    """An option that a file can give: `of` says where, `type` is in the words of Python."""

    of: str
    name: str
    type: str
    required: bool = False
    default: str = ""


@attrs.frozen(kw_only=True)
class PluginReport:
    """An installed plugin; `api` is none for one that was not loaded.

    `fault` says why one that is enabled, or was to be asked, cannot be used.
    """

    name: str
    distribution: str
    enabled: bool
    api: str | None = None
    summary: str = ""
    provides: tuple[str, ...] = ()
    capabilities: tuple[str, ...] = ()
    options: tuple[PluginOption, ...] = ()
    fault: str = ""


@attrs.frozen(kw_only=True)
class PluginList:
    """Installed plugins, and the version of the contract that this routerd has."""

    api: str
    plugins: tuple[PluginReport, ...] = ()


@attrs.frozen(kw_only=True)
class MeasuredGroup:
    """One group of rules for a plugin or one of its providers, and the grade that needs it.

    `state` is `passed`, `failed`, `missing`, or `none` where the group does not apply; `words` says why.
    `rules` counts the rules that were tried.
    """

    group: str
    grade: str
    of: str
    state: str
    rules: int = 0
    words: str = ""


@attrs.frozen(kw_only=True)
class PluginCheck:
    """The measure of a distribution: the `grade` that it reaches, empty for none, and whether `asked` holds.

    `tests` is the folder with its tests; `fault` says why they could not be run, or not all of them.
    """

    distribution: str
    version: str
    grade: str
    asked: str
    holds: bool
    plugins: tuple[str, ...] = ()
    tests: str = ""
    groups: tuple[MeasuredGroup, ...] = ()
    fault: str = ""


@attrs.frozen(kw_only=True)
class CheckedNic(Nic):
    """A network interface of this instance; `forwarding` is none where it is not known."""

    forwarding: bool | None = None


@attrs.frozen(kw_only=True)
class CheckedProfile:
    """What was found of one CloudProviderProfile; `instance` is none when the cloud did not identify ours.

    `routes` counts those that lead to this router; `healthy` says that nothing is missing, and `diagnosed`
    that the provider checked its permissions.
    """

    profile: str
    provider: str
    mode: str
    healthy: bool
    diagnosed: bool
    instance: str | None = None
    next_hop: str | None = None
    nics: tuple[CheckedNic, ...] = ()
    route_tables: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    routes: int | None = None
    findings: tuple[Finding, ...] = ()


@attrs.frozen(kw_only=True)
class CloudCheckup:
    """What was found of the clouds of a file."""

    profiles: tuple[CheckedProfile, ...] = ()


@attrs.frozen(kw_only=True)
class Validation:
    """Whether a file can be used, with what it has; `problems` are errors as text."""

    file: str
    valid: bool
    node: str = ""
    resources: int = 0
    kinds: int = 0
    plugins: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
