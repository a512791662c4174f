"""Plugins written to disk as distributions of one module each, and nothing else installed."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from routerd.errors import PluginError
from routerd.plugins import installed
from routerd.plugins.host import PluginHost
from routerd.spi import ENTRY_POINT_GROUP

_NUMBERS = itertools.count()


class World:
    """A directory of distributions; `world("p", code)` installs the plugin `p`."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path = path
        monkeypatch.syspath_prepend(str(path))
        real = installed.metadata.distributions
        monkeypatch.setattr(
            installed.metadata, "distributions", lambda: real(path=[str(path), str(path / "later")])
        )

    def __call__(
        self, name: str, code: str, *, distribution: str = "", group: str = ENTRY_POINT_GROUP
    ) -> None:
        module = self.module(name, code)
        self.distribution(distribution or f"dist-{name}", f"[{group}]\n{name} = {module}\n")

    def module(self, name: str, code: str) -> str:
        """Write a module that can be imported, and return its name."""
        # A name of its own: a module stays imported for the rest of the run.
        module = f"plugin_{name}_{next(_NUMBERS)}"
        (self.path / f"{module}.py").write_text(code)
        return module

    def distribution(self, name: str, entry_points: str | bytes, *, later: bool = False) -> None:
        """Install a distribution with these entry points, `later` in a place that is searched last."""
        place = self.path / "later" if later else self.path
        directory = place / f"{name.replace('-', '_')}-1.0.dist-info"
        directory.mkdir(parents=True)
        (directory / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        content = entry_points if isinstance(entry_points, bytes) else entry_points.encode()
        (directory / "entry_points.txt").write_bytes(content)


def refused(*names: str) -> str:
    """Return why plugins of these names cannot be loaded."""
    with pytest.raises(PluginError) as caught:
        PluginHost.load(names)
    return str(caught.value)
