"""The grade of a plugin, judged from its rules; and the distribution that an operator names."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path

import attrs
import pytest
from tests.unit.plugins.plugin_world import World

from routerd.errors import PluginError
from routerd.model.report.checks import PluginCheck
from routerd.model.subsystem import Derivation
from routerd.plugins.installed import InstalledPlugin
from routerd.plugins.loading import LoadedPlugin
from routerd.plugins.measure.documented import undocumented
from routerd.plugins.measure.grades import DEFAULT, GRADES, judged, needed
from routerd.plugins.measure.project import Project, find_project
from routerd.plugins.measure.suites import Rule, Run
from routerd.spi import Capability, JoinMethod, NoOptions, PluginInfo, Provider, SubsystemType, TransportMode

PLUGIN = InstalledPlugin(
    name="p", distribution="dist-p", version="1.0", entry_point=metadata.EntryPoint("p", "p", "g")
)
PROJECT = Project(distribution="dist-p", version="1.0", plugins=(PLUGIN,))
MODE = TransportMode(kind="odd", create=lambda *_: None)  # type: ignore[arg-type,return-value]
METHOD = JoinMethod(kind="word", create=lambda *_: None, binds_claim=True)  # type: ignore[arg-type,return-value]

SUBSYSTEM = SubsystemType(
    kind="names",
    create=lambda *_: None,  # type: ignore[arg-type,return-value]
    derive=lambda *_: Derivation(),
)


def loaded(**offers: tuple[object, ...]) -> LoadedPlugin:
    info = PluginInfo(name="p", api=(1, 0), summary="does what it says")
    return LoadedPlugin(info=info, installed=PLUGIN, **offers)  # type: ignore[arg-type]


def rule(group: str, *, of: str = "odd", suite: str = "TransportContract", outcome: str = "passed") -> Rule:
    return Rule(
        test=f"T::test_{group}", suites=frozenset({suite}), of=of, group=group, outcome=outcome, words="why"
    )


GROUPS = ("", "second-pass", "cancellation", "faults", "adoption")
WHOLE = Run(rules=tuple(rule(group, of="p", suite="PluginContract") for group in ("", "import")))
OWN = Run(rules=tuple(map(rule, GROUPS)))


def judge(
    plugin: LoadedPlugin | None = None,
    *,
    whole: Run = WHOLE,
    own: Run = OWN,
    lacks: Mapping[str, Sequence[str]] | None = None,
    faults: Sequence[str] = (),
    asked: str = DEFAULT,
) -> PluginCheck:
    return judged(
        PROJECT,
        loaded=[] if faults else [plugin or loaded(transports=(MODE,))],
        faults=faults,
        undocumented=lacks or {},
        whole=whole,
        own=own,
        asked=asked,
    )


def states(report: PluginCheck) -> dict[str, str]:
    return {each.group: each.state for each in report.groups if each.state != "passed"}


def without(run: Run, group: str, **change: str) -> Run:
    """Return a run without the rules of a group, or with another outcome of theirs."""
    if not change:
        return Run(rules=tuple(each for each in run.rules if each.group != group))
    return Run(
        rules=tuple(attrs.evolve(each, **change) if each.group == group else each for each in run.rules)
    )


def test_a_plugin_with_everything_reaches_the_highest_grade() -> None:
    report = judge(asked="hardened")
    assert (report.grade, report.holds, states(report)) == ("hardened", True, {})
    assert {each.group for each in report.groups} == {group for groups in GRADES.values() for group in groups}


@pytest.mark.parametrize("asked", GRADES)
@pytest.mark.parametrize(
    ("change", "reached", "group"),
    [
        ({"faults": ["plugin p (dist-p 1.0): import failed: OSError"]}, "", "load"),
        ({"whole": without(WHOLE, "import", outcome="failed")}, "", "import"),
        ({"whole": without(WHOLE, "import")}, "", "import"),
        ({"whole": without(WHOLE, "", outcome="failed")}, "", "contract"),
        ({"lacks": {"p": ["its README has fewer than 5 lines"]}}, "loads", "docs"),
        ({"own": without(OWN, "", outcome="failed")}, "loads", "suite"),
        ({"own": Run()}, "loads", "suite"),
        ({"own": without(OWN, "second-pass")}, "loads", "second-pass"),
        ({"own": without(OWN, "cancellation")}, "tested", "cancellation"),
        ({"own": without(OWN, "faults", outcome="skipped")}, "tested", "faults"),
        ({"own": without(OWN, "adoption")}, "tested", "adoption"),
    ],
)
def test_what_is_missing_decides_the_grade(
    change: Mapping[str, object], reached: str, group: str, asked: str
) -> None:
    report = judge(**change, asked=asked)  # type: ignore[arg-type]
    assert report.grade == reached
    assert states(report)[group] in {"failed", "missing"}
    order = ["", *GRADES]
    assert report.holds == (order.index(reached) >= order.index(asked))
    assert all(each.words for each in report.groups if each.state != "passed")


def test_rules_of_another_provider_or_suite_do_not_count() -> None:
    for other in ({"of": "even"}, {"suite": "RoutingContract"}):
        own = Run(rules=tuple(rule(group, **other) for group in GROUPS))
        assert judge(own=own).grade == "loads"


def test_a_test_that_cannot_be_read_is_a_suite_that_is_missing() -> None:
    own = attrs.evolve(OWN, fault="tests/test_more.py: No module named 'more'")
    report = judge(own=own)
    assert report.grade == "loads"
    assert "No module named" in report.fault


def test_a_join_method_has_no_tables_to_prove() -> None:
    own = Run(
        rules=tuple(rule(g, of="word", suite="EnrollmentContract") for g in ("", "cancellation", "faults"))
    )
    report = judge(loaded(enrollments=(METHOD,)), own=own)
    assert report.grade == "hardened"
    assert states(report) == {"second-pass": "none", "adoption": "none"}


def test_a_plugin_without_providers_needs_no_suite() -> None:
    assert judge(loaded(), own=Run(fault="no tests found")).grade == "hardened"


def provider(*capabilities: Capability) -> Provider[object]:
    return Provider(kind="x", create=lambda *_: None, capabilities=frozenset(capabilities))


@pytest.mark.parametrize(
    ("offers", "suites"),
    [
        ({"transports": (MODE,)}, ("TransportContract",)),
        (
            {"transports": (attrs.evolve(MODE, capabilities=frozenset({Capability.ENCRYPTS})),)},
            ("EncryptingTransportContract",),
        ),
        ({"routings": (provider(),)}, ("RoutingContract",)),
        ({"routings": (provider(Capability.BGP),)}, ("BgpRoutingContract", "BgpContract")),
        ({"enrollments": (METHOD,)}, ("EnrollmentContract",)),
        ({"fabrics": (provider(),)}, ("FabricContract",)),
        (
            {"fabrics": (provider(Capability.SHARES_SITE, Capability.DIAGNOSES),)},
            ("SharedFabricContract", "DiagnosisRules"),
        ),
        ({"subsystems": (SUBSYSTEM,)}, ("SubsystemContract",)),
    ],
)
def test_a_provider_needs_the_suites_of_its_family_and_capabilities(
    offers: Mapping[str, tuple[object, ...]], suites: tuple[str, ...]
) -> None:
    (needs,) = needed(loaded(**offers))
    assert needs.suites == suites


def test_half_of_the_suites_are_not_enough() -> None:
    plugin = loaded(routings=(provider(Capability.BGP),))
    own = Run(rules=tuple(rule(group, of="x", suite="BgpRoutingContract") for group in GROUPS))
    report = judge(plugin, own=own)
    assert (report.grade, states(report)) == ("loads", {"suite": "missing"})
    assert "no test class of BgpContract for routing x" in str(report)


# --- documents ---------------------------------------------------------------------------------------------

README = "\n".join(f"line {number}" for number in range(5))


@attrs.frozen
class Described:
    """`file` is where it reads."""

    file: str = ""
    pause: int = 5
    """Seconds between two readings."""


@attrs.frozen
class Silent:
    """Says nothing of its field."""

    next_hop: str = ""


@attrs.frozen
class Nothing:
    name: str = ""


def texts(config: type[object], *, readme: str = README, summary: str = "does it") -> list[str]:
    info = PluginInfo(name="p", api=(1, 0), summary=summary, config=config)
    return undocumented(LoadedPlugin(info=info, installed=PLUGIN), readme)


def test_an_option_is_described_in_the_docstring_below_the_field_or_in_the_readme() -> None:
    assert texts(NoOptions) == []
    assert texts(Described) == []
    assert texts(Silent, readme=f"{README}\n| `nextHop` | our own address |") == []


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (texts(Silent), "option nextHop of Silent: describe it"),
        (texts(Nothing, readme=f"{README} name"), "options Nothing: no docstring"),
        (texts(NoOptions, readme="# p\n\na plugin\n"), "fewer than 5 lines"),
        (texts(NoOptions, summary=" "), "PluginInfo has no summary"),
    ],
)
def test_what_is_not_documented_is_named_with_its_remedy(found: list[str], words: str) -> None:
    (text,) = found
    assert words in text


# --- the distribution --------------------------------------------------------------------------------------


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    made = World(tmp_path / "site", monkeypatch)
    made.path.mkdir()
    made.distribution("routerd-odd", "[routerd.plugins.v1]\nodd_one = odd\nodd_two = odd\n")
    made.distribution("routerd-even", "[routerd.plugins.v1]\neven = even\n")
    return made


def source(world: World, folder: Path) -> None:
    """Note where a distribution was installed from."""
    info = world.path / "routerd_odd-1.0.dist-info"
    (info / "direct_url.json").write_text(json.dumps({"url": folder.as_uri(), "dir_info": {}}))


@pytest.mark.parametrize("name", ["routerd-odd", "Routerd_Odd", "odd_one"])
def test_a_distribution_is_found_by_its_name_and_by_those_of_its_plugins(
    world: World, tmp_path: Path, name: str
) -> None:
    (tmp_path / "its source" / "tests").mkdir(parents=True)
    source(world, tmp_path / "its source")
    found = find_project(name, None)
    assert (found.distribution, found.version) == ("routerd-odd", "1.0")
    assert [each.name for each in found.plugins] == ["odd_one", "odd_two"]
    assert found.tests == tmp_path / "its source" / "tests"


def test_a_folder_is_a_project_that_is_installed(world: World, tmp_path: Path) -> None:
    (tmp_path / "folder" / "tests").mkdir(parents=True)
    project = tmp_path / "folder" / "pyproject.toml"
    project.write_text("[project]\nname = 'routerd.odd'\n")
    assert world.path.exists()
    assert find_project(str(tmp_path / "folder"), None).tests == tmp_path / "folder" / "tests"
    project.write_text("[project]\nname = 'routerd-new'\n")
    with pytest.raises(PluginError, match="routerd-new is not installed; run pip install -e"):
        find_project(str(tmp_path / "folder"), None)
    for text in ("[project", "[project]\n", "project = 1"):
        project.write_text(text)
        with pytest.raises(PluginError, match="it names no project"):
            find_project(str(tmp_path / "folder"), None)


@pytest.mark.usefixtures("world")
def test_tests_that_are_named_come_before_all_others(tmp_path: Path) -> None:
    assert find_project("even", tmp_path).tests == tmp_path
    assert find_project("even", None).tests is None
    with pytest.raises(PluginError, match="--tests names the folder"):
        find_project("even", tmp_path / "nowhere")


@pytest.mark.usefixtures("world")
def test_a_wrong_name_lists_what_is_installed() -> None:
    with pytest.raises(PluginError) as caught:
        find_project("routerd-od", None)
    text = str(caught.value)
    assert "distribution routerd-od is not installed" in text
    assert "(with plugins: routerd-even, routerd-odd); did you mean routerd-odd?" in text
