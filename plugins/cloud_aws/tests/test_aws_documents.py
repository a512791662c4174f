"""The documents of this plugin are true: permissions and numbers."""

from __future__ import annotations

import json
import re
from pathlib import Path

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


def test_the_quota_has_its_code_and_its_assumption() -> None:
    assert CODE in PAGE
    assert f"Without them routerd assumes {ASSUMED}" in PAGE
