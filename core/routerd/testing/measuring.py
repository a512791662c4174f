"""A plugin of pytest for `routerd plugins check`: runs contract suites only, and reports each rule as JSON.

Added in 1.0.
"""

from __future__ import annotations

import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

import attrs
import pytest

_SUITES = "routerd.testing.contracts"
_ENDINGS = ("Contract", "Rules")
_OF = pytest.StashKey[str]()
_WORDS = 300


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that names the file of the report."""
    parser.addoption("--routerd-measure", metavar="FILE", help="write how each rule of a suite went")


def pytest_configure(config: pytest.Config) -> None:
    """Report only where a file is named."""
    file = config.getoption("--routerd-measure")
    if file:
        config.pluginmanager.register(Report(file=Path(file)), "routerd-measure")


def suites_of(cls: type | None) -> list[str]:
    """Return the names of the suites that a test class derives from."""
    bases = cls.__mro__ if cls is not None else ()
    return sorted(
        base.__name__
        for base in bases
        if base.__module__.startswith(_SUITES) and base.__name__.endswith(_ENDINGS)
    )


@attrs.define(eq=False)
class Report:
    """Keeps the worst outcome of each rule, and writes all of them at the end."""

    file: Path
    rules: dict[str, dict[str, Any]] = attrs.field(factory=dict)  # Any: JSON
    errors: list[str] = attrs.field(factory=list)

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Leave out what belongs to no suite."""
        chosen = [item for item in items if suites_of(getattr(item, "cls", None))]
        config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
        items[:] = chosen

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Keep the outcome of a phase."""
        report = yield
        group = item.get_closest_marker("proves")
        known = self.rules.setdefault(
            item.nodeid,
            {
                "test": f"{item.cls.__name__}::{item.name}",  # type: ignore[attr-defined]  # only classes are left
                "suites": suites_of(item.cls),  # type: ignore[attr-defined]
                "group": group.args[0] if group else "",
                "of": "",
                "outcome": "passed",
                "words": "",
            },
        )
        known["of"] = known["of"] or _of(item)
        if report.outcome != "passed" and known["outcome"] != "failed":
            known["outcome"] = "failed" if report.outcome == "failed" else "skipped"
            known["words"] = _words(report)
        return report

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Keep why a file of tests cannot be read."""
        if report.failed:
            lines = str(report.longrepr).strip().splitlines()
            self.errors.append(f"{report.nodeid}: {lines[-1] if lines else 'cannot be collected'}")

    def pytest_sessionfinish(self) -> None:
        """Write the report."""
        self.file.write_text(json.dumps({"rules": list(self.rules.values()), "errors": self.errors}))


def _of(item: pytest.Item) -> str:
    """Return the kind of the provider under test, or the name of the plugin."""
    made = getattr(item, "funcargs", {}).get("provider")
    kind = getattr(made, "kind", None)
    return str(kind) if kind is not None else str(getattr(getattr(item, "cls", None), "name", ""))


def _words(report: pytest.TestReport) -> str:
    """Return the last line of what pytest says, without its marks."""
    if isinstance(report.longrepr, tuple):
        return str(report.longrepr[2])[:_WORDS]
    said = getattr(getattr(report.longrepr, "reprcrash", None), "message", None) or str(report.longrepr)
    return " ".join(said.split())[:_WORDS]
