"""A new plugin's project, from the templates beside this module: its tests pass at once."""

import keyword
import re
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Literal, get_args

from routerd.errors import PluginError

Family = Literal["transport", "routing", "enrollment", "fabric", "subsystem"]
FAMILIES: tuple[Family, ...] = get_args(Family)
PREFIX: dict[Family, str] = {
    "transport": "transport",
    "routing": "routing",
    "enrollment": "join",
    "fabric": "cloud",
    "subsystem": "subsystem",
}
"""How the name of a plugin of the family begins."""

_ABOUT: dict[Family, str] = {
    "transport": "A tunnel is a link of the kernel; its kind has the name of the plugin until you change it.",
    "routing": "It takes its routes from a file, and writes what it would announce into another.",
    "enrollment": "Leaf and reflector have one secret, which signs each claim and the reflector's challenge.",
    "fabric": "The NICs and route tables of its site are in a JSON file.",
    "subsystem": "It writes the leaves of the fabric by name into a file of hosts, for a name server.",
}
_NAME = re.compile(r"[a-z][a-z0-9]*")
_SUFFIX = ".txt"
_PLACEHOLDER = "acme"


def new_project(name: str, family: Family, into: Path) -> Path:
    """Write the project of a plugin that offers `name`, and return its new folder below `into`.

    Raises `PluginError` when the name cannot be one, or when the folder exists.
    """
    if not _NAME.fullmatch(name) or keyword.iskeyword(name):
        raise PluginError(f"{name!r} is not a name for a plugin; use small letters and digits, such as vxlan")
    plugin = f"{PREFIX[family]}_{name}"
    package = f"routerd_{plugin}"
    distribution = package.replace("_", "-")
    folder = into / distribution
    words = {
        "@DISTRIBUTION@": distribution,
        "@PACKAGE@": package,
        "@PLUGIN@": plugin,
        "@KIND@": name,
        "@PROVIDES@": {"enrollment": "join-method", "fabric": "cloud"}.get(family, family),
        "@FAMILY@": {"enrollment": "join method"}.get(family, family),
        "@ABOUT@": _ABOUT[family],
        # A class of `vxlan` is VxlanTransport.
        _PLACEHOLDER: name,
        _PLACEHOLDER.capitalize(): name.capitalize(),
    }
    template = resources.files("routerd.plugins") / "template"
    try:
        folder.mkdir(parents=True)
        for file in ("pyproject.toml", "README.md"):
            _write(template / (file + _SUFFIX), folder / file, words)
        for source, target in (("package", package), ("tests", "tests")):
            (folder / target).mkdir()
            for each in (template / family / source).iterdir():
                file = each.name.removesuffix(_SUFFIX).replace(_PLACEHOLDER, name)
                _write(each, folder / target / file, words)
    except FileExistsError as error:
        raise PluginError(f"{folder}: it exists already; remove it, or choose another name") from error
    except OSError as error:
        raise PluginError(f"{folder}: it cannot be written: {error.strerror}; use --into") from error
    return folder


def _write(template: Traversable, target: Path, words: dict[str, str]) -> None:
    text = template.read_text(encoding="utf-8")
    for placeholder, word in words.items():
        text = text.replace(placeholder, word)
    target.write_text(text, encoding="utf-8")
