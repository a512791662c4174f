"""The documents of this plugin are true: permissions, numbers, options, and the ready file."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from routerd import config
from routerd.model import specs
from routerd_cloud_aws.config import AwsOptions
from routerd_cloud_aws.limits import ASSUMED, CODE, PERMISSIONS

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "clouds" / "aws.md").read_text()
README = (ROOT / "plugins" / "cloud_aws" / "README.md").read_text()


def test_the_policy_of_the_page_is_what_a_diagnosis_checks() -> None:
    (text,) = re.findall(r"^```json\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    allowed: list[str] = []
    for statement in json.loads(text)["Statement"]:
        actions = statement["Action"]
        allowed += [actions] if isinstance(actions, str) else actions
    assert set(allowed) == PERMISSIONS
    assert len(allowed) == len(set(allowed))
    assert all("*" not in action for action in allowed)


def test_the_readme_names_the_same_permissions() -> None:
    section = README.split("## Permissions")[1].split("##")[0]
    assert set(re.findall(r"`((?:ec2|servicequotas):\w+)`", section)) == PERMISSIONS


@pytest.mark.parametrize("option", ["region", "instanceID", "networkInterfaces", "routeTables", "routeQuota"])
def test_every_option_is_in_the_readme(option: str) -> None:
    assert f"| `{option}` |" in README


def test_the_quota_has_its_code_and_its_assumption() -> None:
    assert CODE in PAGE
    assert f"Without them routerd assumes {ASSUMED}" in PAGE


def test_the_ready_file_is_valid_with_the_options_of_this_plugin() -> None:
    found = config.load(ROOT / "examples" / "clouds" / "leaf-aws.yaml")
    (profile,) = found.of(specs.CloudProviderProfileSpec)
    assert profile.spec.provider == "aws"
    assert AwsOptions(**profile.spec.options) == AwsOptions()
    # What changes an account is switched on by a person, not by an example.
    assert profile.spec.mode == "plan"
