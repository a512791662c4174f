"""An environment of a source tree: this one, or that of an earlier commit out of the repository's history.

No wheel is built: the environment has a path to the tree and the metadata of its distributions, so it takes
seconds.
"""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

from tests.thirdparty.clean_venv import CleanVenv, requirements_of

REPOSITORY = Path(__file__).parents[2]
PLUGINS = ("bgp_ryu", "enrollment_token", "transport_ipip", "transport_wireguard")

BEFORE_FREE_NAMES = "de323b8886e20ef78481d16e26b843cf2f48ed01"
"""The last commit before the contract was opened: the next one made join methods a part of claims.

Its claims, its state file and its speaker's socket are what a router of then leaves behind.
"""


def extract(commit: str, into: Path) -> str:
    """Unpack the sources of a commit; return why it cannot be done, or nothing."""
    names = ["pyproject.toml", "core", *(f"plugins/{name}" for name in PLUGINS)]
    done = subprocess.run(
        ["git", "archive", commit, *names], capture_output=True, check=False, cwd=REPOSITORY
    )
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()
        return f"this clone has no commit {commit[:12]} ({said}); clone the whole history"
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(into, filter="data")
    return ""


def environment(root: Path, tree: Path) -> CleanVenv:
    """Make an environment in which `routerd` and the plugins are those of a tree."""
    made = CleanVenv.make(root)
    needed = {
        each
        for name in ("routerd", *(f"routerd-{name.replace('_', '-')}" for name in PLUGINS))
        for each in requirements_of(name)
        if not each.startswith("routerd")
    }
    made.link(sorted(needed))
    places = {"core": tree, **{name: tree / "plugins" / name for name in PLUGINS}}
    roots = [tree / "core", *(tree / "plugins" / name for name in PLUGINS)]
    (made.site_packages / "tree.pth").write_text("".join(f"{each}\n" for each in roots))
    for place in places.values():
        _describe(made, place / "pyproject.toml")
    routerd = root / "bin" / "routerd"
    routerd.write_text(f"#!{made.python}\nfrom routerd.cli import main\nmain()\n")
    routerd.chmod(0o755)
    return made


def _describe(venv: CleanVenv, project: Path) -> None:
    """Write the metadata of a distribution, by which its entry points are found."""
    facts = tomllib.loads(project.read_text())["project"]
    name, version = facts["name"], facts["version"]
    place = venv.site_packages / f"{name.replace('-', '_')}-{version}.dist-info"
    place.mkdir()
    (place / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    lines = []
    for group, entries in facts.get("entry-points", {}).items():
        if group != "pytest11":
            lines += [f"[{group}]", *(f"{key} = {value}" for key, value in entries.items())]
    (place / "entry_points.txt").write_text("\n".join([*lines, ""]))


def main() -> None:
    """Make both environments below a directory: `python -m tests.thirdparty.earlier_tree DIRECTORY`."""
    root = Path(sys.argv[1])
    (root / "tree").mkdir(parents=True)
    if why := extract(BEFORE_FREE_NAMES, root / "tree"):
        sys.exit(why)
    environment(root / "earlier", root / "tree")
    environment(root / "present", REPOSITORY)


if __name__ == "__main__":
    main()
