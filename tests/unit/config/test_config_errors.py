"""Mistakes of configuration files: each file in errors/ and its expected problems."""

from pathlib import Path

import pytest

from routerd import config
from routerd.errors import ConfigError

ERRORS = Path(__file__).parent / "errors"
CASES = sorted(path.stem for path in ERRORS.glob("*.yaml"))


def said_about(text: str, *, lenient: bool = False) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        config.load_text(text, file="r.yaml", lenient=lenient)
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize("case", CASES)
def test_a_refusal_lists_every_problem_of_the_file(case: str) -> None:
    text = (ERRORS / f"{case}.yaml").read_text(encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        config.load_text(text, file=f"{case}.yaml")
    said = "".join(f"{problem}\n" for problem in caught.value.problems)
    assert said == (ERRORS / f"{case}.expected").read_text(encoding="utf-8")


@pytest.mark.parametrize("case", CASES)
def test_problems_come_in_the_order_of_the_file_and_point_into_it(case: str) -> None:
    text = (ERRORS / f"{case}.yaml").read_text(encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        config.load_text(text, file=f"{case}.yaml")
    lines = [problem.line for problem in caught.value.problems]
    assert lines
    assert lines == sorted(lines)
    assert all(0 <= line <= text.count("\n") for line in lines)


def test_every_expectation_has_its_file() -> None:
    assert {path.stem for path in ERRORS.glob("*.expected")} == set(CASES)


def test_a_file_with_five_mistakes_reports_five() -> None:
    text = (ERRORS / "five-mistakes.yaml").read_text(encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        config.load_text(text, file="r.yaml")
    found = [(problem.line, problem.resource, problem.path) for problem in caught.value.problems]
    assert found == [
        (text[: text.index(mark)].count("\n") + 1, resource, path)
        for mark, resource, path in (
            ("64577x", "BGPRouter/mobility-bgp", "spec.asn"),
            ("fats", "BGPRouter/mobility-bgp", "spec.timers.profile"),
            ("sourcePrefix", "BGPDynamicPeer/leaves", "spec.listen.sourcePrefix"),
            ("WireGuardInterfce", "WireGuardInterfce/wg-sam", "kind"),
            ("wg-smm", "IPv4StaticAddress/inner", "spec.interface"),
        )
    ]


def test_a_missing_file_is_one_problem_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        config.load(tmp_path / "router.yaml")
    assert str(caught.value) == f"{tmp_path}/router.yaml: no such file; name one with --config"


def test_a_directory_is_named_as_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is a directory"):
        config.load(tmp_path)


def test_bytes_that_are_not_text_are_one_problem(tmp_path: Path) -> None:
    path = tmp_path / "router.yaml"
    path.write_bytes(b"kind: \xff\xfe\n")
    with pytest.raises(ConfigError, match=r"is not UTF-8 text \(byte 6\)"):
        config.load(path)


def test_a_file_that_is_far_too_large_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "router.yaml"
    with path.open("wb") as file:
        file.truncate(9 << 20)
    with pytest.raises(ConfigError, match="larger than 8 MiB"):
        config.load(path)


def test_very_deep_nesting_is_a_problem_and_not_a_crash() -> None:
    assert said_about("[" * 5000) == ["r.yaml: not valid YAML: nested too deeply"]


SMALL = """
apiVersion: routerd.net/v1alpha1
kind: Router
metadata: {name: r}
spec:
  resources:
    - apiVersion: net.routerd.net/v1alpha1
      kind: Interface
      metadata: {name: lan}
      spec: {ifname: eth0, mtuu: 1500}
"""


def test_lenient_turns_an_unknown_field_into_a_warning() -> None:
    assert len(said_about(SMALL)) == 1
    loaded = config.load_text(SMALL, file="r.yaml", lenient=True)
    assert [str(warning) for warning in loaded.warnings] == [
        "r.yaml:10: Interface/lan spec.mtuu: unknown field; did you mean mtu?"
    ]


def test_lenient_still_refuses_a_wrong_value() -> None:
    assert said_about(SMALL.replace("kind: Interface", "kind: Interfase"), lenient=True) == [
        'r.yaml:8: Interfase/lan kind: unknown kind "Interfase"; did you mean Interface?'
    ]


def test_a_misspelt_required_field_is_still_required_of_the_next_resource() -> None:
    text = SMALL.replace("{ifname: eth0, mtuu: 1500}", "{ifnam: eth0}")
    second = text[text.index("    - api") :].replace("lan", "wan").replace("ifnam: eth0", "mtu: 1500")
    assert said_about(text + second) == [
        "r.yaml:10: Interface/lan spec.ifnam: unknown field; did you mean ifname?",
        "r.yaml:14: Interface/wan spec.ifname: is required",
    ]


def test_a_second_document_is_ignored_with_a_warning() -> None:
    text = SMALL.replace(", mtuu: 1500", "")
    loaded = config.load_text(f"{text}---\nkind: Router\n", file="r.yaml")
    (warning,) = loaded.warnings
    assert warning.line == 12
    assert "reads only the first YAML document" in warning.message


def test_an_optional_peer_group_is_accepted_with_a_warning() -> None:
    text = SMALL.replace("kind: Interface", "kind: WireGuardInterface").replace(
        "{ifname: eth0, mtuu: 1500}",
        "{privateKeyFile: /k, peersFrom: [{resource: SAMPeerGroup/x, optional: true}]}",
    )
    (warning,) = config.load_text(text, file="r.yaml").warnings
    assert (warning.path, warning.severity) == ("spec.peersFrom[0].resource", "warning")
    assert "does not exchange peer groups" in warning.message


def test_a_field_without_effect_gives_a_warning() -> None:
    text = SMALL.replace("kind: Interface", "kind: BGPRouter").replace(
        "{ifname: eth0, mtuu: 1500}",
        "{asn: 64577, routerID: 10.0.0.1, exportPolicy: {allowedPrefixes: [10.0.0.0/24]}}",
    )
    (warning,) = config.load_text(text, file="r.yaml").warnings
    assert warning.path == "spec.exportPolicy"
    assert warning.severity == "warning"
