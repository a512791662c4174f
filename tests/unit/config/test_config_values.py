"""From YAML to values: the types of fields, and the guarantees of a loaded configuration."""

import copy
from datetime import timedelta
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path

import attrs
import hypothesis.strategies as st
import pytest
import yaml
from hypothesis import given, settings

from routerd import config
from routerd.config.kinds import BUILTIN
from routerd.config.render import duration
from routerd.config.structure import fields_of, parse_duration
from routerd.errors import ConfigError, Problem
from routerd.model import specs
from routerd.model.resource import ResourceKind

EXAMPLES = Path(__file__).parents[3] / "examples"

HEAD = """\
apiVersion: routerd.net/v1alpha1
kind: Router
metadata: {name: r}
"""


def one(kind: str, spec: str, group: str = "net") -> object:
    text = (
        f"{HEAD}spec:\n  resources:\n    - apiVersion: {group}.routerd.net/v1alpha1\n      kind: {kind}\n"
        f"      metadata: {{name: it}}\n      spec: {spec}\n"
    )
    return config.load_text(text, file="r.yaml").resources[0].spec


def test_fields_have_their_real_types() -> None:
    spec = one("BGPRouter", "{asn: 64577, routerID: 10.0.0.1, gracefulRestart: {restartTime: 1m30s}}")
    assert isinstance(spec, specs.BGPRouterSpec)
    assert spec.router_id == IPv4Address("10.0.0.1")
    assert spec.graceful_restart is not None
    assert spec.graceful_restart.restart_time == timedelta(seconds=90)


def test_null_means_the_default() -> None:
    spec = one("BGPRouter", "{asn: 1, routerID: 10.0.0.1, importPolicy: null, timers: , listen: ~}")
    assert spec == specs.BGPRouterSpec(asn=1, router_id=IPv4Address("10.0.0.1"))


def test_a_number_is_valid_as_text() -> None:
    spec = one("Sysctl", "{key: net.ipv4.ip_forward, value: 1}", group="system")
    assert spec == specs.SysctlSpec(key="net.ipv4.ip_forward", value="1")


def test_a_time_without_quotes_keeps_its_letters_because_they_are_signed() -> None:
    text = (EXAMPLES / "leaf.yaml").read_text(encoding="utf-8")
    text = text.replace("leafID: leaf1", "leafID: leaf1\n        joinTimestamp: 2026-06-28T00:00:00.10Z")
    (claim,) = config.load_text(text, file="r.yaml").of(specs.SAMEnrollmentClaimSpec)
    assert claim.spec.join_timestamp == "2026-06-28T00:00:00.10Z"


def test_timers_and_timers_preset_are_two_spellings() -> None:
    base = "mode: ipip, innerPrefix: 10.0.0.0/24, localEndpoint: 10.9.0.1, publishPeerGroup: true"
    text = f"{HEAD}spec:\n  resources:\n" + "".join(
        f"    - {{apiVersion: {group}.routerd.net/v1alpha1, kind: {kind}, "
        f"metadata: {{name: it}}, spec: {spec}}}\n"
        for group, kind, spec in (
            ("net", "BGPRouter", "{asn: 1, routerID: 10.0.0.1}"),
            (
                "mobility",
                "SAMTransportProfile",
                f"{{{base}, bgp: {{routerRef: BGPRouter/it, peerASN: 1, timers: {{profile: fast}}}}}}",
            ),
        )
    )
    (profile,) = config.load_text(text, file="r.yaml").of(specs.SAMTransportProfileSpec)
    assert profile.spec.bgp is not None
    assert profile.spec.bgp.timers_preset == "fast"


def test_an_anchor_may_be_used_again_and_merged() -> None:
    text = f"""{HEAD}spec:
  resources:
    - &lan
      apiVersion: net.routerd.net/v1alpha1
      kind: Interface
      metadata: {{name: lan}}
      spec: &ethernet {{ifname: eth0, mtu: 1500}}
    - <<: *lan
      metadata: {{name: wan}}
      spec:
        <<: [*ethernet]
        ifname: eth1
"""
    lan, wan = config.load_text(text, file="r.yaml").resources
    assert lan.spec == specs.InterfaceSpec(ifname="eth0", mtu=1500)
    assert wan.spec == specs.InterfaceSpec(ifname="eth1", mtu=1500)


def test_a_resource_knows_the_line_of_each_of_its_fields() -> None:
    found = config.load(EXAMPLES / "fullmesh-rr.yaml")
    resource = found.get("BGPRouter/mobility-bgp")
    assert resource is not None
    lines = (EXAMPLES / "fullmesh-rr.yaml").read_text(encoding="utf-8").splitlines()
    assert "profile: fast" in lines[resource.source.line_of("spec.timers.profile") - 1]
    assert "asn: 64577" in lines[resource.source.line_of("spec.asn") - 1]


def test_resources_are_found_by_kind_and_by_reference() -> None:
    found = config.load(EXAMPLES / "fullmesh-rr.yaml")
    assert [each.name for each in found.of(specs.BGPRouterSpec)] == ["mobility-bgp"]
    assert found.get("BGPRouter/nobody") is None
    assert found.get("Interface/mobility-bgp") is None


def test_plugins_may_be_a_list_or_carry_options() -> None:
    listed = config.load_text(f"{HEAD}plugins: [b, a]\nspec: {{}}\n", file="r.yaml")
    assert [(each.name, each.node) for each in listed.plugins or ()] == [("b", None), ("a", None)]
    mapped = config.load_text(f"{HEAD}plugins:\n  b: {{x: 1}}\n  a:\nspec: {{}}\n", file="r.yaml")
    assert [(each.name, each.line) for each in mapped.plugins or ()] == [("b", 5), ("a", 6)]
    assert config.load_text(f"{HEAD}spec: {{}}\n", file="r.yaml").plugins is None


def test_reconcile_settings_are_kept() -> None:
    text = f"{HEAD}spec: {{reconcile: {{mode: strict, protectedInterfaces: [eth0]}}}}\n"
    assert config.load_text(text, file="r.yaml").reconcile == config.ReconcileSettings(
        mode="strict", protected_interfaces=("eth0",)
    )


@attrs.frozen(kw_only=True)
class Water:
    temperature: int
    source: IPv4Interface | None = None


def test_a_plugin_may_add_a_kind() -> None:
    kind = ResourceKind(
        api_version="tea.example/v1", kind="Teapot", spec=Water, teardown="the tea is poured out"
    )
    text = (
        f"{HEAD}spec:\n  resources:\n    - {{apiVersion: tea.example/v1, kind: Teapot, "
        "metadata: {name: t}, spec: {temperature: 95}}\n"
    )
    assert config.load_text(text, file="r.yaml", kinds=[kind]).resources[0].spec == Water(temperature=95)


def options(text: str) -> tuple[Water | None, list[str]]:
    node = yaml.compose(text) if text else None
    value, problems = config.structure_options(
        node, Water, file="r.yaml", resource="plugin tea", path="plugins.tea"
    )
    return value, [str(problem) for problem in problems]


def test_options_of_a_plugin_become_its_own_class() -> None:
    assert options("{temperature: 95, source: 10.0.0.1/24}") == (
        Water(temperature=95, source=IPv4Interface("10.0.0.1/24")),
        [],
    )


def test_options_are_refused_with_place_and_suggestion() -> None:
    value, problems = options("temperature: warm\nsorce: 10.0.0.1/24\n")
    assert value is None
    assert problems == [
        "r.yaml:2: plugin tea plugins.tea.sorce: unknown field; did you mean source?",
        'r.yaml:1: plugin tea plugins.tea.temperature: expected an integer, got "warm"',
    ]


def test_missing_options_mean_the_defaults() -> None:
    value, problems = options("")
    assert value is None
    assert problems == ["r.yaml:1: plugin tea plugins.tea.temperature: is required"]


@pytest.mark.parametrize("kind", BUILTIN, ids=lambda kind: kind.kind)
def test_every_kind_says_what_its_removal_tears_down_and_has_fields_that_can_be_read(
    kind: ResourceKind,
) -> None:
    assert kind.teardown
    assert fields_of(kind.spec)


def test_kinds_are_named_once() -> None:
    assert len({kind.kind for kind in BUILTIN}) == len(BUILTIN)


@given(st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=400)))
def test_a_rendered_duration_reads_as_the_same_duration(value: timedelta) -> None:
    assert abs(parse_duration(duration(value)) - value) <= timedelta(microseconds=1)


@pytest.mark.parametrize("text", ["", "1d", "10", "s", "-1s", "1h 2m", "1e3s", "9" * 400 + "h"])
def test_text_that_is_not_a_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the text is the caller's to say
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "seconds"), [("10s", 10), ("15m", 900), ("24h", 86400), ("1h30m", 5400), ("250ms", 0.25)]
)
def test_durations_are_in_the_notation_of_go(text: str, seconds: float) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@given(st.text(max_size=60))
def test_no_text_crashes_the_reader(text: str) -> None:
    # Text at random is never a whole configuration.
    with pytest.raises(ConfigError) as caught:
        config.load_text(text, file="r.yaml")
    assert caught.value.problems


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(max_size=8),
    st.dates(),
    st.just([]),
    st.just({}),
    st.just([{"a": [1]}]),
    st.just({"a": {"b": "c"}}),
    st.just("10.0.0.1/24"),
)


def problems_of(text: str) -> tuple[Problem, ...]:
    try:
        return config.load_text(text, file="r.yaml").warnings
    except ConfigError as error:
        return error.problems


def places(value: object, path: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, each in inner for place in places(each, (*path, key)))]


SAMPLE = yaml.safe_load((EXAMPLES / "seed-dialect/fullmesh-leaf-aws.yaml").read_text(encoding="utf-8"))


@settings(max_examples=2 * settings.default.max_examples)
@given(st.sampled_from(places(SAMPLE)[1:]), SCALARS)
def test_no_value_anywhere_crashes_the_reader(place: tuple[object, ...], value: object) -> None:
    document = copy.deepcopy(SAMPLE)
    holder = document
    for key in place[:-1]:
        holder = holder[key]
    holder[place[-1]] = value
    text = yaml.safe_dump(document)
    # A person can find each: in the file, with the resource or the field named.
    for problem in problems_of(text):
        assert 1 <= problem.line <= text.count("\n")
        assert problem.resource or problem.path


def test_prefixes_are_networks() -> None:
    spec = one("IPv4StaticRoute", "{destination: 10.0.0.0/8, via: 10.9.0.1}")
    assert isinstance(spec, specs.IPv4StaticRouteSpec)
    assert spec.destination == IPv4Network("10.0.0.0/8")
