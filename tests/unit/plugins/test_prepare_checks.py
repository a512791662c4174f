"""Everything that can be found wrong before anything is touched, told at once with its line."""

from __future__ import annotations

import re
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import attrs
import pytest

from routerd.config import document
from routerd.errors import ConfigError
from routerd.model import specs
from routerd.plugins import installed
from routerd.plugins.check import prepare
from routerd.plugins.conflicts import PluginFault
from routerd.plugins.host import PluginHost
from routerd.plugins.installed import InstalledPlugin
from routerd.plugins.loading import LoadedPlugin
from routerd.plugins.providers import ProviderFactory
from routerd.process.directories import Directories
from routerd.process.log import Log
from routerd.process.supervisor import Supervisor
from routerd.spi import (
    ENTRY_POINT_GROUP,
    Capability,
    JoinMethod,
    NoOptions,
    PluginInfo,
    Provider,
    TransportMode,
)
from routerd.testing.clock import FakeClock
from routerd.testing.fakes.enrollment_keys import FakeKey, FakeKeys
from routerd.testing.kernel import FakeKernel

TOP = """\
apiVersion: routerd.net/v1alpha1
kind: Router
metadata: {name: r1}
"""
TUNNEL = """\
    - apiVersion: hybrid.routerd.net/v1alpha1
      kind: TunnelInterface
      metadata: {name: t1}
      spec: {mode: gre, local: 192.0.2.1, remote: 192.0.2.2, trustedUnderlay: true}
"""
WIREGUARD = """\
    - apiVersion: net.routerd.net/v1alpha1
      kind: WireGuardInterface
      metadata: {name: wg0}
      spec: {privateKeyFile: /etc/wg0.key, listenPort: 51820}
"""
ROUTER = """\
    - apiVersion: net.routerd.net/v1alpha1
      kind: BGPRouter
      metadata: {name: b}
      spec: {asn: 64577, routerID: 192.0.2.1}
"""
CLOUD = """\
    - apiVersion: hybrid.routerd.net/v1alpha1
      kind: CloudProviderProfile
      metadata: {name: cloud}
      spec: {provider: example, mode: auto, options: {region: here}}
"""


@attrs.frozen
class Options:
    port: int = 1
    backend: str = "kernel"


@attrs.frozen
class TunnelOptions:
    vni: int
    colour: str = "red"


@attrs.frozen
class CloudOptions:
    region: str


def provider(kind: str, options: type[object] = NoOptions, *capabilities: Capability) -> Provider[Any]:
    return Provider(
        kind=kind, options=options, capabilities=frozenset(capabilities), create=lambda *_: object()
    )


def mode(kind: str, *capabilities: Capability, **more: Any) -> TransportMode:
    fields = {"options": Options, "capabilities": frozenset(capabilities), **more}
    return TransportMode(kind=kind, create=lambda *_: object(), **fields)


def method(kind: str, **more: Any) -> JoinMethod:
    fields = {"create": lambda *_: object(), "binds_claim": True, **more}
    return JoinMethod(kind=kind, **fields)


def loaded(name: str, config: type[object] = NoOptions, **families: Any) -> LoadedPlugin:
    entry = EntryPoint(name=name, value="nothing", group="")
    return LoadedPlugin(
        info=PluginInfo(name=name, api=(1, 0), summary="", config=config),
        installed=InstalledPlugin(name=name, distribution=name, version="1", entry_point=entry),
        **families,
    )


EXAMPLE = loaded(
    "example",
    Options,
    transports=(
        mode("gre", key="optional"),
        mode("fou", encapsulation="required"),
        mode("odd", tunnel=TunnelOptions, encapsulation="optional", key="required"),
        mode("wireguard", Capability.ENCRYPTS),
        mode("armour", Capability.ENCRYPTS),
    ),
    routings=(provider("bgp", Options, Capability.BGP),),
    enrollments=(method("token", options=Options, shared_secret=True),),
    fabrics=(provider("example", CloudOptions),),
)


class Desk:
    """Prepares configurations with plugins that need no installation."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path = path
        self.named: list[str] = []
        self.warnings: tuple[str, ...] = ()
        self.installed = {"example": EXAMPLE}
        monkeypatch.setattr(PluginHost, "attempt", self._attempt)

    def _attempt(self, names: Any) -> tuple[PluginHost, tuple[PluginFault, ...]]:
        self.named = list(names)
        there = [self.installed[name] for name in names if name in self.installed]
        faults = [PluginFault(name, f"no {name}") for name in names if name not in self.installed]
        return PluginHost(there, warnings=self.warnings), tuple(faults)

    def prepare(self, *resources: str, plugins: str = "plugins: [example]", **more: Any) -> Any:
        body = f"spec:\n  resources:\n{''.join(resources)}" if resources else "spec: {resources: []}\n"
        self.path.write_text(f"{TOP}{plugins}\n{body}")
        return prepare(self.path, **more)

    def refused(self, *resources: str, **more: Any) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            self.prepare(*resources, **more)
        return [str(problem) for problem in caught.value.problems]


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    return Desk(tmp_path / "router.yaml", monkeypatch)


SHARED = (
    CLOUD.replace("options:", "takeoverFrom: [nic-2], options:")
    + """\
    - apiVersion: mobility.routerd.net/v1alpha1
      kind: SAMEnrollmentClaim
      metadata: {name: leaf}
      spec:
        policyRef: SAMEnrollmentPolicy/p
        leafID: leaf
        tunnelAddress: 10.255.0.1
        placement: {group: site, priority: 1}
        mobility: {ownedAddresses: [10.80.0.1/32]}
    - apiVersion: mobility.routerd.net/v1alpha1
      kind: SAMEnrollmentClient
      metadata: {name: leaf}
      spec: {claimRef: SAMEnrollmentClaim/leaf, bootstrapEndpoints: ["http://192.0.2.1:1"]}
"""
)


def test_a_cloud_that_cannot_take_over_is_not_asked_to(desk: Desk) -> None:
    (problem,) = desk.refused(SHARED)
    assert problem.endswith(
        "CloudProviderProfile/cloud spec.takeoverFrom: plugin example cannot take over routes of other "
        "routers; remove the field; the site then has one router"
    )
    line = int(problem.split(":")[1])
    assert "takeoverFrom" in desk.path.read_text().splitlines()[line - 1]
    able = provider("example", CloudOptions, Capability.SHARES_SITE)
    desk.installed["example"] = attrs.evolve(EXAMPLE, fabrics=(able,))
    assert desk.prepare(SHARED).configuration.warnings == ()


def test_a_cloud_is_told_of_the_sites_other_routers_before_it_starts(desk: Desk, tmp_path: Path) -> None:
    told: list[object] = []

    class Cloud:
        def share(self, next_hops: frozenset[str]) -> None:
            told.append(next_hops)

        async def start(self) -> None:
            told.append("started")

    able = attrs.evolve(provider("example", CloudOptions, Capability.SHARES_SITE), create=lambda *_: Cloud())
    desk.installed["example"] = attrs.evolve(EXAMPLE, transports=(), routings=(), fabrics=(able,))
    clock, log = FakeClock(), Log()
    for text in (SHARED, CLOUD):
        ProviderFactory(
            prepared=desk.prepare(text),
            directories=Directories(state=tmp_path / "s", run=tmp_path / "r"),
            kernel=FakeKernel(),
            clock=clock,
            log=log,
            supervisor=Supervisor(clock=clock, log=log),
            wake=lambda _: None,
        ).make()
    assert told == [frozenset({"nic-2"})]


def test_a_router_without_placement_has_nobody_to_take_over_from(desk: Desk) -> None:
    able = provider("example", CloudOptions, Capability.SHARES_SITE)
    desk.installed["example"] = attrs.evolve(EXAMPLE, fabrics=(able,))
    (problem,) = desk.refused(SHARED.replace("        placement: {group: site, priority: 1}\n", ""))
    assert "spec.takeoverFrom: needs a claim with placement" in problem
    prepared = desk.prepare(SHARED.replace("takeoverFrom: [nic-2], ", ""))
    (warning,) = prepared.configuration.warnings
    assert "spec.takeoverFrom: is empty, so this router takes over no route of the other leaves" in str(
        warning
    )
    (problem,) = desk.refused(SHARED.replace("takeoverFrom:", "takeoverHoldDown: 100ms, takeoverFrom:"))
    assert "spec.takeoverHoldDown: must be 1s or more" in problem


def test_what_fits_is_prepared_with_its_options(desk: Desk) -> None:
    made = desk.prepare(TUNNEL, WIREGUARD, ROUTER, CLOUD, plugins="plugins: {example: {port: 7}}")
    assert made.options == {"example": Options(port=7)}
    assert made.profile_options == {"cloud": CloudOptions(region="here")}
    assert made.intent.node == "r1"


def test_a_plugin_without_a_section_has_its_defaults(desk: Desk) -> None:
    assert desk.prepare().options == {"example": Options()}


ENABLE = "which is installed: add it to plugins: or to --plugins"


@pytest.mark.parametrize(
    ("resource", "need"),
    [
        (ROUTER, "BGPRouter/b: no enabled plugin provides routing protocol bgp"),
        (CLOUD, "CloudProviderProfile/cloud spec.provider: no enabled plugin provides cloud example"),
    ],
)
def test_what_nobody_provides_is_named_with_file_and_line(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, resource: str, need: str
) -> None:
    # The plugins of this environment do provide some of it.
    monkeypatch.setattr(installed, "installation", lambda: installed.Installation(plugins={}))
    (problem,) = desk.refused(resource, plugins="plugins: []")
    assert re.match(
        rf"{re.escape(str(desk.path))}:\d+: {need} \(enabled: none; they provide: none\)", problem
    )
    assert "add it to plugins: or to --plugins" in problem


@pytest.mark.parametrize(
    ("resource", "provided"), [(ROUTER, "routing.bgp"), (CLOUD, "cloud.example"), (TUNNEL, "transport.gre")]
)
def test_the_plugin_to_enable_is_that_whose_distribution_says_so(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, resource: str, provided: str
) -> None:
    there = {
        name: [
            InstalledPlugin(
                name=name,
                distribution=f"dist-{name}",
                version="1.0",
                entry_point=EntryPoint(name, "never_imported", ENTRY_POINT_GROUP),
                provides=frozenset(provides),
            )
        ]
        for name, provides in {"other": {"cloud.else"}, "mine": {provided, "transport.x"}}.items()
    }
    monkeypatch.setattr(installed, "installation", lambda: installed.Installation(plugins=there))
    (problem,) = desk.refused(resource, plugins="plugins: []")
    assert problem.endswith(f"; enable plugin mine, {ENABLE}")
    monkeypatch.setattr(
        installed, "installation", lambda: installed.Installation(plugins={"other": there["other"]})
    )
    (problem,) = desk.refused(resource, plugins="plugins: []")
    listed = "other (else)" if provided.startswith("cloud") else "other"
    assert problem.endswith(f"(installed, not enabled: {listed})")


def test_all_needs_are_told_at_once_in_the_order_of_the_file(desk: Desk) -> None:
    problems = desk.refused(TUNNEL, ROUTER, CLOUD, plugins="plugins: {}")
    assert [problem.split(":")[1] for problem in problems] == ["10", "11", "18"]


def test_an_unknown_option_of_a_plugin_has_its_line_and_what_was_meant(desk: Desk) -> None:
    (problem,) = desk.refused(plugins="plugins:\n  example:\n    bakend: user")
    assert problem.startswith(f"{desk.path}:6: plugin example plugins.example.bakend: ")
    assert "backend" in problem


def test_an_option_of_the_wrong_type_and_a_missing_one_are_told_together(desk: Desk) -> None:
    problems = desk.refused(CLOUD.replace("{region: here}", "{}"), plugins="plugins: {example: {port: x}}")
    assert len(problems) == 2
    assert "plugins.example.port" in problems[0]
    assert "CloudProviderProfile/cloud spec.options.region" in problems[1]


def test_what_is_lenient_about_options_is_still_said(desk: Desk) -> None:
    made = desk.prepare(CLOUD, plugins="plugins: {example: {bakend: user}}", lenient=True)
    (warning,) = [each for each in made.configuration.warnings if "bakend" in str(each)]
    assert warning.severity == "warning"


def test_what_is_wrong_with_an_unrelated_distribution_is_a_warning(desk: Desk) -> None:
    desk.warnings = ("distribution x 1.0: its entry points cannot be read",)
    (warning,) = desk.prepare().configuration.warnings
    assert str(warning) == f"{desk.path}: plugins: {desk.warnings[0]}"
    assert warning.severity == "warning"


def test_an_error_is_not_hidden_among_warnings(desk: Desk) -> None:
    problems = desk.refused(TUNNEL, CLOUD, plugins="plugins: {}", lenient=True)
    assert len(problems) == 2
    desk.installed["example"] = attrs.evolve(EXAMPLE, transports=())
    problems = desk.refused(TUNNEL, plugins="plugins: {example: {bakend: user}}", lenient=True)
    assert [("tunnel mode gre" in problem) for problem in problems] == [True]


def test_the_command_line_is_the_whole_allow_list(desk: Desk) -> None:
    desk.installed["other"] = loaded("other")
    desk.prepare(plugins="plugins: {example: {port: 7}}")
    assert desk.named == ["example"]
    made = prepare(desk.path, plugins=["other"])
    assert desk.named == ["other"]
    assert set(made.options) == {"other"}


def test_without_a_list_it_is_core_alone(desk: Desk) -> None:
    assert desk.prepare(plugins="").host.plugins == ()
    assert desk.named == []


def test_an_unknown_plugin_has_its_line_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "router.yaml"
    path.write_text(f"{TOP}plugins:\n  - no_such_plugin\nspec: {{resources: []}}\n")
    with pytest.raises(ConfigError) as caught:
        prepare(path)
    (problem,) = caught.value.problems
    assert str(problem).startswith(f"{path}:5: plugins: plugin no_such_plugin is not installed")


def test_a_plugin_of_the_command_line_has_no_line(desk: Desk) -> None:
    desk.prepare()
    with pytest.raises(ConfigError) as caught:
        prepare(desk.path, plugins=["missing"])
    assert str(caught.value) == "--plugins: no missing"


PROFILE = """\
    - apiVersion: mobility.routerd.net/v1alpha1
      kind: SAMTransportProfile
      metadata: {name: fabric}
      spec:
        mode: gre
        innerPrefix: 10.255.0.0/20
        localEndpoint: 10.20.0.1
        peersFrom: [{resource: SAMEnrollmentPolicy/leaves}]
"""
POLICY = (
    PROFILE
    + """\
    - apiVersion: mobility.routerd.net/v1alpha1
      kind: SAMEnrollmentPolicy
      metadata: {name: leaves}
      spec:
        transportProfileRef: SAMTransportProfile/fabric
        tunnelAddressPrefixes: [10.255.16.0/24]
        joinMethod: keys
        joinOptions: {keys: {leaf1: abc}}
"""
)
LISTENER = """\
    - apiVersion: system.routerd.net/v1alpha1
      kind: ControlAPI
      metadata: {name: api}
      spec: {listenAddress: 203.0.113.1, allowCIDRs: [203.0.113.0/24], tls: {certFile: /c, keyFile: /k}}
"""
CLAIM = """\
    - apiVersion: mobility.routerd.net/v1alpha1
      kind: SAMEnrollmentClaim
      metadata: {name: leaf}
      spec: {policyRef: SAMEnrollmentPolicy/leaves, leafID: leaf, tunnelAddress: 10.255.16.1}
"""
CLIENT = (
    CLAIM
    + """\
    - apiVersion: mobility.routerd.net/v1alpha1
      kind: SAMEnrollmentClient
      metadata: {name: leaf}
      spec:
        claimRef: SAMEnrollmentClaim/leaf
        bootstrapEndpoints: ["http://192.0.2.1:1"]
        joinMethod: keys
        joinOptions: {seed: abc}
"""
)


PROFILE = """\
    - apiVersion: net.routerd.net/v1alpha1
      kind: WireGuardInterface
      metadata: {name: inside}
      spec: {privateKeyFile: /etc/inside.key, mode: wireguard}
    - apiVersion: mobility.routerd.net/v1alpha1
      kind: SAMTransportProfile
      metadata: {name: fabric}
      spec:
        mode: gre
        encryption: wireguard
        underlayInterface: inside
        innerPrefix: 10.255.0.0/20
        localEndpoint: 10.99.0.1
        publishPeerGroup: true
"""


class TestTunnels:
    """What a file says of tunnels, against the transports that the plugins provide."""

    @pytest.mark.parametrize(
        ("resource", "old", "new", "words"),
        [
            (TUNNEL, "mode: gre", "mode: vxlan", "spec.mode: no enabled plugin provides tunnel mode vxlan"),
            (PROFILE, "mode: gre", "mode: vxlan", "spec.mode: no enabled plugin provides tunnel mode vxlan"),
            (
                PROFILE.replace("mode: wireguard", "mode: vxlan"),
                "encryption: wireguard",
                "encryption: vxlan",
                "spec.mode: no enabled plugin provides encryption vxlan",
            ),
        ],
    )
    def test_an_unknown_name_is_named_with_line_and_what_there_is(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch, resource: str, old: str, new: str, words: str
    ) -> None:
        there = {name: [] for name in ("example", "transport_vxlan", "cloud_aws")}
        monkeypatch.setattr(installed, "installation", lambda: installed.Installation(plugins=there))
        assert old in resource
        unknown = resource.replace(old, new)
        problem = desk.refused(unknown)[0]
        line = next(number for number, text in enumerate(unknown.splitlines()) if "vxlan" in text)
        assert problem.startswith(f"{desk.path}:{line + 7}: ")
        provide = "armour, wireguard" if "encryption" in words else "fou, gre, odd"
        assert f"{words} (enabled: example; they provide: {provide})" in problem
        assert problem.endswith(
            "enable plugin transport_vxlan, which is installed: add it to plugins: or to --plugins"
        )

    def test_a_misspelt_name_has_the_right_one_beside_it(self, desk: Desk) -> None:
        (problem,) = desk.refused(TUNNEL.replace("gre", "gree"))
        assert problem.endswith('did you mean "gre"?')

    def test_without_a_plugin_nothing_is_provided(self, desk: Desk) -> None:
        (problem,) = desk.refused(WIREGUARD, plugins="plugins: []")
        assert (
            "no enabled plugin provides encryption wireguard (enabled: none; they provide: none)" in problem
        )

    def test_a_transport_that_does_not_encrypt_is_not_an_encryption(self, desk: Desk) -> None:
        first, second = desk.refused(PROFILE.replace("wireguard", "gre"))
        words = "transport gre does not encrypt; write one of: armour, wireguard"
        assert f"WireGuardInterface/inside spec.mode: {words}" in first
        assert f"SAMTransportProfile/fabric spec.encryption: {words}" in second

    def test_an_encrypting_transport_is_not_a_mode_of_tunnels(self, desk: Desk) -> None:
        (problem,) = desk.refused(TUNNEL.replace("gre", "armour"))
        assert "spec.mode: transport armour encrypts other tunnels and carries no routes itself" in problem

    def test_an_encryption_has_any_name(self, desk: Desk) -> None:
        made = desk.prepare(PROFILE.replace("wireguard", "armour"))
        (profile,) = made.intent.of(specs.SAMTransportProfileSpec)
        assert profile.spec.encrypted

    def test_the_device_below_is_of_the_transport_that_encrypts(self, desk: Desk) -> None:
        (problem,) = desk.refused(PROFILE.replace("encryption: wireguard", "encryption: armour"))
        assert 'encryption is armour, but "inside" is a device of mode wireguard' in problem

    @pytest.mark.parametrize(
        ("spec", "words"),
        [
            ("mode: gre, encapSport: 1", "spec.encapSport: mode gre has no UDP port; remove it"),
            ("mode: gre, encapDport: 1", "spec.encapDport: mode gre has no UDP port; remove it"),
            ("mode: fou, key: 1, encapSport: 1, encapDport: 2", "spec.key: mode fou has no key; remove it"),
            ("mode: fou, encapSport: 1", "spec.encapDport: is required for mode fou"),
            ("mode: odd, options: {vni: 7}", "spec.key: is required for mode odd"),
            (
                "mode: odd, key: 1, encapSport: 1, options: {vni: 7}",
                "spec.encapDport: is missing; give encapSport and encapDport, or none of them",
            ),
        ],
    )
    def test_a_mode_says_which_fields_it_takes(self, desk: Desk, spec: str, words: str) -> None:
        (problem,) = desk.refused(TUNNEL.replace("mode: gre", spec))
        assert problem.startswith(f"{desk.path}:10: TunnelInterface/t1 {words}")

    def test_options_are_values_of_the_class_that_the_transport_declares(self, desk: Desk) -> None:
        made = desk.prepare(TUNNEL.replace("mode: gre", "mode: odd, key: 1, options: {vni: 7}"), PROFILE)
        assert made.tunnel_options == {"TunnelInterface/t1": TunnelOptions(vni=7)}

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ("", "spec.options.vni: is required"),
            (", options: {vni: seven}", "spec.options.vni: expected an integer"),
            (", options: {vni: 7, color: red}", "spec.options.color: unknown field; did you mean colour?"),
        ],
    )
    def test_a_wrong_option_has_file_and_line(self, desk: Desk, options: str, words: str) -> None:
        (problem,) = desk.refused(TUNNEL.replace("mode: gre", f"mode: odd, key: 1{options}"))
        assert problem.startswith(f"{desk.path}:10: ")
        assert words in problem

    def test_options_of_a_transport_without_any_are_refused(self, desk: Desk) -> None:
        (problem,) = desk.refused(TUNNEL.replace("mode: gre", "mode: gre, options: {vni: 7}"))
        assert "spec.options.vni: unknown field" in problem


class TestJoinMethods:
    @pytest.fixture(autouse=True)
    def _installed(self, desk: Desk) -> None:
        self.offer(desk)

    def offer(self, desk: Desk, **more: Any) -> None:
        methods = (
            method("token", options=Options, shared_secret=True, sam_proof=True),
            method("keys", options=Options, policy=FakeKeys, client=FakeKey, **more),
        )
        desk.installed["example"] = attrs.evolve(EXAMPLE, enrollments=methods)

    def test_the_options_of_both_ends_are_values(self, desk: Desk) -> None:
        assert desk.prepare(POLICY).join_options == {
            "SAMEnrollmentPolicy/leaves": FakeKeys(keys={"leaf1": "abc"})
        }
        assert desk.prepare(CLIENT).join_options == {"SAMEnrollmentClient/leaf": FakeKey(seed="abc")}

    @pytest.mark.parametrize(
        ("file", "old", "new", "line", "words"),
        [
            (
                POLICY,
                "keys: {leaf1: abc}",
                "kyes: {}",
                22,
                "joinOptions.kyes: unknown field; did you mean keys?",
            ),
            (POLICY, "{leaf1: abc}", "{leaf1: [a]}", 22, "joinOptions.keys.leaf1: expected text"),
            (CLIENT, "{seed: abc}", "{seed: {}}", 18, "joinOptions.seed: expected text"),
            (CLIENT, "{seed: abc}", "{}", 18, "joinOptions.seed: is required"),
            (CLIENT, "        joinOptions: {seed: abc}\n", "", 15, "joinOptions.seed: is required"),
        ],
    )
    def test_a_wrong_option_has_file_and_line(
        self, desk: Desk, file: str, old: str, new: str, line: int, words: str
    ) -> None:
        assert old in file
        (problem,) = desk.refused(file.replace(old, new))
        assert problem.startswith(f"{desk.path}:{line}: ")
        assert words in problem

    @pytest.mark.parametrize("file", [POLICY, CLIENT])
    def test_an_unknown_method_is_named_with_line_and_what_there_is(self, desk: Desk, file: str) -> None:
        unknown = file.replace("joinMethod: keys", "joinMethod: tokens")
        (problem,) = desk.refused(unknown)
        line = unknown.splitlines().index("        joinMethod: tokens") + 7
        assert problem.startswith(f"{desk.path}:{line}: ")
        assert (
            "spec.joinMethod: no enabled plugin provides join method tokens (enabled: example; "
            "they provide: keys, token)"
        ) in problem

    def test_the_plugin_that_would_provide_it_is_named(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        there = {name: [] for name in ("example", "join_ed25519", "cloud_aws")}
        monkeypatch.setattr(installed, "installation", lambda: installed.Installation(plugins=there))
        (problem,) = desk.refused(POLICY.replace("joinMethod: keys", "joinMethod: ed25519"))
        assert problem.endswith(
            "enable plugin join_ed25519, which is installed: add it to plugins: or to --plugins"
        )
        (problem,) = desk.refused(POLICY.replace("joinMethod: keys", "joinMethod: tpm"))
        assert problem.endswith(
            "install the plugin that provides it, and add it to plugins: or to --plugins "
            "(installed, not enabled: cloud_aws, join_ed25519)"
        )

    def test_none_needs_no_plugin(self, desk: Desk) -> None:
        desk.installed["example"] = attrs.evolve(EXAMPLE, enrollments=())
        open_policy = POLICY.replace("joinMethod: keys", "joinMethod: none").replace(
            "        joinOptions: {keys: {leaf1: abc}}\n", ""
        )
        (warning,) = desk.prepare(open_policy).configuration.warnings
        assert "spec.joinMethod: admits every host that reaches the listener" in str(warning)
        silent = CLIENT.replace("joinMethod: keys", "joinMethod: none").replace(
            "        joinOptions: {seed: abc}\n", ""
        )
        assert desk.prepare(silent).join_options == {}

    def test_a_method_with_a_shared_secret_needs_its_token_under_every_name(self, desk: Desk) -> None:
        methods = (method("other", options=Options, shared_secret=True, sam_proof=True),)
        desk.installed["example"] = attrs.evolve(EXAMPLE, enrollments=methods)
        bare = POLICY.replace("joinMethod: keys", "joinMethod: other").replace(
            "        joinOptions: {keys: {leaf1: abc}}\n", ""
        )
        (problem,) = desk.refused(bare)
        assert "spec.joinTokenFrom: is required with joinMethod other; write joinTokenFrom:" in problem
        assert problem.endswith("to admit every host, write joinMethod: none")
        desk.prepare(bare + "        joinTokenFrom: {file: /t}\n")

    @pytest.mark.parametrize("file", [POLICY, CLIENT])
    def test_a_token_that_nothing_reads_is_refused(self, desk: Desk, file: str) -> None:
        (problem,) = desk.refused(file + "        joinTokenFrom: {file: /t}\n")
        assert "spec.joinTokenFrom: has no effect: join method keys uses no join token; remove it" in problem

    def test_a_signed_claim_is_of_a_method_of_the_dialect(self, desk: Desk) -> None:
        signed = CLIENT.replace(
            "tunnelAddress: 10.255.16.1}", "tunnelAddress: 10.255.16.1, joinNonce: n, joinHMAC: ab}"
        )
        (problem,) = desk.refused(signed)
        assert "spec.joinMethod: is keys, and SAMEnrollmentClaim/leaf has joinHMAC" in problem

    def test_a_proof_that_does_not_cover_the_claim_needs_a_person_or_tls(self, desk: Desk) -> None:
        self.offer(desk, binds_claim=False)
        (problem,) = desk.refused(POLICY)
        assert "spec.approval: a proof of join method keys does not cover the claim" in problem
        assert problem.endswith("write approval: manual, or give the ControlAPI tls")
        desk.prepare(POLICY + "        approval: manual\n")
        desk.prepare(POLICY, LISTENER)
        desk.refused(POLICY, LISTENER.replace(", tls: {certFile: /c, keyFile: /k}", ""))

    def test_the_copy_of_a_policy_on_a_leaf_is_the_reflectors_business(self, desk: Desk) -> None:
        copy = POLICY.replace("joinMethod: keys", "joinMethod: of-the-reflector")
        desk.prepare(CLIENT, copy)


UNKNOWN = """\
    - apiVersion: {api}
      kind: {kind}
      metadata: {{name: u}}
      spec: {{}}
"""


def test_faults_of_plugins_hide_nothing_else_that_is_wrong_with_the_file(desk: Desk) -> None:
    wrong = TUNNEL.replace("192.0.2.2", "192.0.2.1")
    plugins = "plugins: {example: {port: x}, missing: {}, gone: {}}"
    problems = desk.refused(wrong, ROUTER.replace("64577", "0"), plugins=plugins)
    assert [problem.split(": ", 1)[1].split(":")[0] for problem in problems] == [
        "plugins", "plugins", "plugin example plugins.example.port",
        "TunnelInterface/t1 spec.remote", "BGPRouter/b spec.asn",
    ]  # fmt: skip


def test_bad_options_hide_nothing_else_that_is_wrong_with_the_file(desk: Desk) -> None:
    problems = desk.refused(ROUTER.replace("64577", "0"), plugins="plugins: {example: {port: x}}")
    assert [("plugins.example.port" in each, "spec.asn" in each) for each in problems] == [
        (True, False),
        (False, True),
    ]


def test_nothing_is_guessed_of_what_a_plugin_that_cannot_be_loaded_would_bring(desk: Desk) -> None:
    unheard = UNKNOWN.format(api="x.example/v1", kind="Gadget")
    misspelt = UNKNOWN.format(api="net.routerd.net/v1alpha1", kind="BGPRoutr")
    problems = desk.refused(TUNNEL, unheard, misspelt, plugins="plugins: [missing]")
    assert [each.split(": ", 1)[1] for each in problems] == [
        "plugins: no missing",
        'BGPRoutr/u kind: unknown kind "BGPRoutr"; did you mean BGPRouter?',
    ]
    (problem,) = desk.refused(unheard)
    assert "unknown kind" in problem


def test_the_file_is_read_once(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    real, read = document.read, []
    monkeypatch.setattr(document, "read", lambda path: (read.append(path), real(path))[1])
    desk.prepare(TUNNEL)
    assert read == [desk.path]
