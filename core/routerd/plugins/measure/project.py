"""The distribution that an operator names, its plugins, and the folder of its tests."""

import difflib
import json
import re
import tomllib
from importlib import metadata
from pathlib import Path
from urllib.parse import unquote, urlsplit

import attrs

from routerd.errors import PluginError
from routerd.plugins.installed import InstalledPlugin, installation


@attrs.frozen(kw_only=True)
class Project:
    """An installed distribution with plugins. `tests` is none when nobody said, and nothing says, where."""

    distribution: str
    version: str
    plugins: tuple[InstalledPlugin, ...]
    tests: Path | None = None
    readme: str = attrs.field(default="", repr=False)


def find_project(name: str, tests: Path | None) -> Project:
    """Return the project of `name`: a distribution, a plugin, or the folder of a project.

    Raises `PluginError` when it is not installed; the text lists what is.
    """
    folder = Path(name)
    wanted = _name_in(folder) if folder.is_dir() else name
    found = [plugin for candidates in installation().plugins.values() for plugin in candidates]
    own = [each for each in found if _same(each.distribution, wanted)]
    if not own and not folder.is_dir():
        offered = {each.distribution for each in found if each.name == wanted}
        own = [each for each in found if each.distribution in offered]
    if not own:
        raise PluginError(_missing(name, wanted, folder.is_dir(), found))
    if len({each.distribution for each in own}) > 1:
        listed = " and ".join(sorted({each.distribution for each in own}))
        raise PluginError(f"plugin {wanted}: {listed} offer it; name the distribution")
    if tests is not None and not tests.is_dir():
        raise PluginError(f"{tests}: not a folder; --tests names the folder with the tests")
    distribution = metadata.distribution(own[0].distribution)
    source = folder if folder.is_dir() else _source(distribution)
    if tests is None and source is not None and (source / "tests").is_dir():
        tests = source / "tests"
    return Project(
        distribution=own[0].distribution,
        version=own[0].version,
        plugins=tuple(sorted(own, key=lambda each: each.name)),
        tests=tests.resolve() if tests is not None else None,
        readme=_readme(distribution, source),
    )


def _missing(name: str, wanted: str, is_folder: bool, found: list[InstalledPlugin]) -> str:
    if is_folder:
        return f"{name}: its distribution {wanted} is not installed; run pip install -e {name}"
    known = sorted({each.distribution for each in found})
    names = [*known, *(each.name for each in found)]
    close = difflib.get_close_matches(wanted, names, n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    return f"distribution {wanted} is not installed (with plugins: {', '.join(known) or 'none'}){hint}"


def _same(one: str, other: str) -> bool:
    """Say whether two texts name one distribution (PEP 503)."""
    first, second = (re.sub(r"[-_.]+", "-", each).lower() for each in (one, other))
    return first == second


def _name_in(folder: Path) -> str:
    file = folder / "pyproject.toml"
    try:
        name: object = tomllib.loads(file.read_text(encoding="utf-8"))["project"]["name"]
    except OSError as error:
        raise PluginError(f"{file}: {error.strerror}; name the folder of a project") from error
    except (ValueError, KeyError, TypeError) as error:
        raise PluginError(f"{file}: it names no project; add [project] with a name") from error
    return str(name)


def _source(distribution: metadata.Distribution) -> Path | None:
    """Return the folder that a distribution was installed from, if it is still there."""
    try:
        url = json.loads(distribution.read_text("direct_url.json") or "{}").get("url", "")
    except ValueError:
        return None
    parts = urlsplit(url)
    folder = Path(unquote(parts.path))
    return folder if parts.scheme == "file" and folder.is_dir() else None


def _readme(distribution: metadata.Distribution, source: Path | None) -> str:
    # The README is what follows the headers of the metadata.
    text = (distribution.read_text("METADATA") or "").partition("\n\n")[2]
    if not text.strip() and source is not None and (source / "README.md").is_file():
        text = (source / "README.md").read_text(encoding="utf-8", errors="replace")
    return text
