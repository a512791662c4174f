"""Rendered resources: reading one returns the same resource, and none shows a secret."""

import json
from pathlib import Path
from typing import Any

import attrs
import pytest
import yaml

from routerd import config
from routerd.model.resource import Resource

EXAMPLES = Path(__file__).parents[3] / "examples"
FILES = sorted(path.relative_to(EXAMPLES) for path in EXAMPLES.rglob("*.yaml"))
HEAD = "apiVersion: routerd.net/v1alpha1\nkind: Router\nmetadata: {name: r}\n"


def read(resources: list[dict[str, Any]]) -> config.Configuration:
    document = {**yaml.safe_load(HEAD), "spec": {"resources": resources}}
    return config.load_text(yaml.safe_dump(document, sort_keys=False), file="r.yaml")


def resource(kind: str, spec: str, group: str = "net") -> Resource[object]:
    found = read(
        [
            {
                "apiVersion": f"{group}.routerd.net/v1alpha1",
                "kind": kind,
                "metadata": {"name": "it", "annotations": {"note": "ours"}},
                "spec": yaml.safe_load(spec),
            }
        ]
    )
    return found.resources[0]


@pytest.mark.parametrize("defaults", [False, True], ids=["short", "with defaults"])
@pytest.mark.parametrize("name", FILES, ids=str)
def test_a_rendered_resource_reads_as_the_same_resource(name: Path, defaults: bool) -> None:
    found = config.load(EXAMPLES / name)
    again = read([config.to_document(each, defaults=defaults) for each in found.resources])
    assert again.resources == found.resources


@pytest.mark.parametrize("name", FILES, ids=str)
def test_the_short_form_has_the_fields_that_the_author_wrote(name: Path) -> None:
    found = config.load(EXAMPLES / name)
    written = yaml.safe_load((EXAMPLES / name).read_text(encoding="utf-8"))["spec"]["resources"]
    assert written
    for mine, theirs in zip(found.resources, written, strict=True):
        rendered = config.to_document(mine)
        assert rendered["metadata"] == theirs["metadata"]
        # Fields that only repeat a default are not shown.
        assert set(rendered["spec"]) <= set(theirs["spec"])


def test_yaml_and_json_say_the_same() -> None:
    found = resource("BGPRouter", "{asn: 64577, routerID: 10.0.0.1, timers: {profile: fast}}")
    assert yaml.safe_load(config.to_yaml(found)) == json.loads(config.to_json(found))
    assert config.to_yaml(found) == (
        "apiVersion: net.routerd.net/v1alpha1\nkind: BGPRouter\n"
        "metadata:\n  name: it\n  annotations:\n    note: ours\n"
        "spec:\n  asn: 64577\n  routerID: 10.0.0.1\n  timers:\n    profile: fast\n"
    )


def test_an_inline_password_is_masked() -> None:
    found = read(
        [
            {
                "apiVersion": "net.routerd.net/v1alpha1",
                "kind": "BGPRouter",
                "metadata": {"name": "it"},
                "spec": {"asn": 1, "routerID": "10.0.0.1"},
            },
            {
                "apiVersion": "net.routerd.net/v1alpha1",
                "kind": "BGPPeer",
                "metadata": {"name": "it"},
                "spec": {
                    "routerRef": "BGPRouter/it",
                    "peerASN": 1,
                    "peers": ["10.0.0.2"],
                    "password": "hunter2",
                },
            },
        ]
    )
    text = config.to_yaml(found.resources[1]) + config.to_json(found.resources[1])
    assert "hunter2" not in text + repr(found)
    assert "password: '***'" in text


def test_options_named_like_a_secret_are_masked_and_references_are_not() -> None:
    # A file with the last two is refused; what shows a resource does not rely on that.
    found = resource("CloudProviderProfile", "{provider: pve, options: {}}", group="hybrid")
    options = {"tokenFile": "/etc/t", "apiToken": "abc", "auth": {"clientSecret": "def"}}
    found = attrs.evolve(found, spec=attrs.evolve(found.spec, options=options))
    assert config.to_document(found)["spec"]["options"] == {
        "tokenFile": "/etc/t",
        "apiToken": "***",
        "auth": {"clientSecret": "***"},
    }
