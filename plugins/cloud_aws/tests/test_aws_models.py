"""Service models without their manual describe the same calls."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.loaders import JSONFileLoader, Loader

from routerd_cloud_aws.models import LeanFiles


def texts(value: Any, key: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from texts(inner, name)
    elif isinstance(value, list):
        for inner in value:
            yield from texts(inner)
    elif key == "documentation":
        yield value


def without_manual(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            name: without_manual(inner)
            for name, inner in value.items()
            if name != "documentation" or not isinstance(inner, str)
        }
    return [without_manual(inner) for inner in value] if isinstance(value, list) else value


@pytest.mark.parametrize("service", ["ec2", "service-quotas"])
def test_the_model_is_that_of_the_sdk_but_for_its_manual(service: str) -> None:
    lean = Loader(file_loader=LeanFiles()).load_service_model(service, "service-2")
    whole = Loader().load_service_model(service, "service-2")
    assert list(texts(whole))
    assert list(texts(lean)) == []
    assert lean == without_manual(whole)


def test_a_file_is_found_with_either_suffix_or_not_at_all(tmp_path: Path) -> None:
    (tmp_path / "plain.json").write_text('{"documentation": "text", "b": {"documentation": {"shape": "S"}}}')
    files, path = LeanFiles(), str(tmp_path / "plain")
    assert files.exists(path)
    assert files.load_file(path) == {"b": {"documentation": {"shape": "S"}}}
    missing = str(tmp_path / "missing")
    assert (files.exists(missing), files.load_file(missing)) == (False, None)
    assert JSONFileLoader().load_file(missing) is None
