"""The judgement: each group of rules for each plugin and provider, and the grade that follows. Pure.

A grade holds when every group of it and of those below it has passed. A skipped rule proves nothing, so it
counts as missing.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import attrs

from routerd.model.report.checks import MeasuredGroup, PluginCheck
from routerd.plugins.loading import LoadedPlugin
from routerd.plugins.measure.project import Project
from routerd.plugins.measure.suites import Rule, Run
from routerd.spi import Capability

GRADES: Mapping[str, tuple[str, ...]] = {
    "loads": ("load", "import", "contract"),
    "tested": ("docs", "suite", "second-pass"),
    "hardened": ("cancellation", "faults", "adoption"),
}
"""The groups of each grade; a grade needs those of the grades before it too."""

DEFAULT = "tested"
_GRADE = {group: grade for grade, groups in GRADES.items() for group in groups}

PLUGIN_SUITE = "PluginContract"

_TABLES = frozenset({"second-pass", "adoption"})
"""Groups about tables."""

_SHOWN = 3


@attrs.frozen(kw_only=True)
class Needs:
    """The suites that one provider needs, and whether it has tables."""

    of: str
    kind: str
    suites: tuple[str, ...]
    tables: bool = True


def judged(
    project: Project,
    *,
    loaded: Sequence[LoadedPlugin],
    faults: Sequence[str],
    undocumented: Mapping[str, Sequence[str]],
    whole: Run,
    own: Run,
    asked: str,
) -> PluginCheck:
    """Return the report. `faults` say why plugins could not be loaded, `own` are the project's own suites."""
    groups = [
        *_loads(project, loaded, faults, whole),
        *(row for plugin in loaded for row in _of_plugin(plugin, undocumented, own)),
    ]
    reached = ""
    for grade in GRADES:
        if any(row.grade == grade and row.state not in {"passed", "none"} for row in groups):
            break
        reached = grade
    order = list(GRADES)
    return PluginCheck(
        distribution=project.distribution,
        version=project.version,
        plugins=tuple(each.name for each in project.plugins),
        tests=str(project.tests) if project.tests is not None else "",
        grade=reached,
        asked=asked,
        holds=bool(reached) and order.index(reached) >= order.index(asked),
        groups=tuple(groups),
        fault=own.fault,
    )


def _loads(
    project: Project, loaded: Sequence[LoadedPlugin], faults: Sequence[str], whole: Run
) -> Iterator[MeasuredGroup]:
    present = {plugin.info.name for plugin in loaded}
    for installed in project.plugins:
        name = installed.name
        if name not in present:
            words = next((text for text in faults if name in text), whole.fault) or "not loaded"
            yield _row("load", name, "failed", words=words)
            continue
        yield _row("load", name, "passed")
        rules = [rule for rule in whole.rules if rule.of == name]
        missing = whole.fault or "no rule of a plugin ran"
        yield _group("import", name, (rule for rule in rules if rule.group == "import"), missing)
        yield _group("contract", name, (rule for rule in rules if rule.group != "import"), missing)


def _of_plugin(
    plugin: LoadedPlugin, undocumented: Mapping[str, Sequence[str]], own: Run
) -> Iterator[MeasuredGroup]:
    name = plugin.info.name
    lacks = undocumented.get(name, ())
    yield _row("docs", name, "missing" if lacks else "passed", words=_some(lacks))
    providers = list(needed(plugin))
    if not providers:
        yield _row("suite", name, "none", words="it offers no provider")
    for needs in providers:
        ran = [rule for rule in own.rules if rule.of == needs.kind and rule.suites & set(needs.suites)]
        yield _suites(needs, ran, own)
        for group in ("second-pass", *GRADES["hardened"]):
            if group in _TABLES and not needs.tables:
                yield _row(group, needs.of, "none", words="it has no tables")
                continue
            rules = (rule for rule in ran if rule.group == group)
            yield _group(group, needs.of, rules, f"no rule of {needs.suites[0]} ran")


def needed(plugin: LoadedPlugin) -> Iterator[Needs]:
    """Yield what each provider needs."""
    for mode in plugin.transports:
        encrypts = Capability.ENCRYPTS in mode.capabilities
        suite = "EncryptingTransportContract" if encrypts else "TransportContract"
        yield Needs(of=f"transport {mode.kind}", kind=mode.kind, suites=(suite,))
    for routing in plugin.routings:
        bgp = Capability.BGP in routing.capabilities
        suites = ("BgpRoutingContract", "BgpContract") if bgp else ("RoutingContract",)
        yield Needs(of=f"routing {routing.kind}", kind=routing.kind, suites=suites)
    for method in plugin.enrollments:
        of = f"join method {method.kind}"
        yield Needs(of=of, kind=method.kind, suites=("EnrollmentContract",), tables=False)
    for fabric in plugin.fabrics:
        shares = Capability.SHARES_SITE in fabric.capabilities
        diagnoses = ("DiagnosisRules",) if Capability.DIAGNOSES in fabric.capabilities else ()
        suite = "SharedFabricContract" if shares else "FabricContract"
        yield Needs(of=f"cloud {fabric.kind}", kind=fabric.kind, suites=(suite, *diagnoses))
    for subsystem in plugin.subsystems:
        of = f"subsystem {subsystem.kind}"
        suites = ("SubsystemContract",)
        yield Needs(of=of, kind=subsystem.kind, suites=suites, tables=bool(subsystem.tables))


def _suites(needs: Needs, ran: Sequence[Rule], own: Run) -> MeasuredGroup:
    """Judge whether each suite of a provider is subclassed and holds."""
    if own.fault:
        return _row("suite", needs.of, "missing", words=own.fault)
    used = frozenset[str]().union(*(rule.suites for rule in ran))
    absent = [suite for suite in needs.suites if suite not in used]
    if absent:
        words = f"no test class of {' and '.join(absent)} for {needs.of}; subclass it in the project's tests"
        return _row("suite", needs.of, "missing", words=words)
    return _group("suite", needs.of, (rule for rule in ran if rule.group not in GRADES["hardened"]), "")


def _group(group: str, of: str, rules: Iterable[Rule], missing: str) -> MeasuredGroup:
    found = list(rules)
    failed = [rule for rule in found if rule.outcome == "failed"]
    skipped = [rule for rule in found if rule.outcome == "skipped"]
    for state, some in (("failed", failed), ("missing", skipped)):
        if some:
            said = [f"{rule.test} {rule.outcome}: {rule.words}" for rule in some]
            return _row(group, of, state, rules=len(found), words=_some(said))
    if not found:
        return _row(group, of, "missing", words=missing)
    return _row(group, of, "passed", rules=len(found))


def _row(group: str, of: str, state: str, *, rules: int = 0, words: str = "") -> MeasuredGroup:
    return MeasuredGroup(group=group, grade=_GRADE[group], of=of, state=state, rules=rules, words=words)


def _some(texts: Sequence[str]) -> str:
    more = f"; and {len(texts) - _SHOWN} more" if len(texts) > _SHOWN else ""
    return "; ".join(texts[:_SHOWN]) + more
