"""A virtual environment that has only what a stranger would install, made without the internet.

Our distributions are built as wheels and installed; the libraries that they require are linked
from the environment of the test run, distribution by distribution, so that nothing else of that
environment (such as our editable installs) can be seen.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

import attrs
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


@attrs.frozen(kw_only=True)
class CleanVenv:
    """A virtual environment below `root`."""

    root: Path

    @property
    def python(self) -> Path:
        """Return its interpreter."""
        return self.root / "bin" / "python"

    @property
    def site_packages(self) -> Path:
        """Return where it keeps libraries."""
        return Path(sysconfig.get_path("purelib", vars={"base": str(self.root)}))

    @classmethod
    def make(cls, root: Path) -> CleanVenv:
        """Make an empty one."""
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(root)], check=True)
        return cls(root=root)

    def link(self, names: Iterable[str]) -> None:
        """Make the distributions and what they require available."""
        for distribution in closure(names):
            for name in sorted({file.parts[0] for file in distribution.files or () if file.parts[0] != ".."}):
                target = self.site_packages / name
                source = Path(str(distribution.locate_file(name)))
                if source.exists() and not target.exists():
                    target.symlink_to(source)

    def install(self, wheels: Iterable[Path]) -> None:
        """Install wheels as pip does, and nothing that they require."""
        pip = [sys.executable, "-m", "pip", "--python", str(self.python), "install", "--quiet"]
        options = ["--no-index", "--no-deps", "--disable-pip-version-check"]
        subprocess.run([*pip, *options, *map(str, wheels)], check=True)

    def run(self, *words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
        """Run a program of the environment and return what it said."""
        command = [str(self.root / "bin" / words[0]), *words[1:]]
        return subprocess.run(command, capture_output=True, text=True, timeout=880, check=False, cwd=cwd)


def core_source(root: Path) -> Path:
    """Copy what the core's wheel is built of below `root`, and return where it is."""
    repository = Path(__file__).parents[2]
    core = root / "core-source"
    core.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(repository / name, core)
    shutil.copytree(repository / "core", core / "core", ignore=shutil.ignore_patterns("__pycache__"))
    return core


def requirements_of(name: str) -> list[str]:
    """Return what a distribution requires, without its extras."""
    return [text for text in metadata.distribution(name).requires or () if "extra" not in text]


def closure(names: Iterable[str]) -> list[metadata.Distribution]:
    """Return the distributions and all that they require on this host."""
    found: dict[str, metadata.Distribution] = {}
    waiting = [Requirement(name) for name in names]
    while waiting:
        requirement = waiting.pop()
        key = canonicalize_name(requirement.name)
        if key in found:
            continue
        found[key] = metadata.distribution(requirement.name)
        for text in found[key].requires or ():
            needed = Requirement(text)
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                waiting.append(needed)
    return list(found.values())


def build_wheels(sources: Iterable[Path], into: Path) -> list[Path]:
    """Build each source tree with the installed build backend and return the wheels."""
    for source in sources:
        pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
        subprocess.run([*pip, "--no-index", "--wheel-dir", str(into), str(source)], check=True)
    return sorted(into.glob("*.whl"))
