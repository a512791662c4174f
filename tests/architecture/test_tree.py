"""What every file of the repository keeps to."""

from __future__ import annotations

import ast
import re
from collections import Counter

from tests.architecture import tree

# Written in pieces, so that this file does not match itself.
LOCAL = re.compile(
    "|".join(["/" + "work/", "/" + r"home/(?!runner)\w+", "/" + r"Users/\w+", "/" + r"root/\w"])
)


def test_no_file_names_a_path_of_somebodys_machine() -> None:
    found = []
    for path in tree.files():
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        found += [f"{path.relative_to(tree.ROOT)}: {match}" for match in LOCAL.findall(text)]
    assert found == []


def test_every_module_says_what_lives_in_it() -> None:
    silent = []
    for path in tree.modules("core/", "plugins/", "tests/"):
        text = path.read_text()
        in_tests = "/tests/" in f"/{path.relative_to(tree.ROOT)}"
        if text.strip() and not ast.get_docstring(tree.parsed(path)) and not in_tests:
            silent.append(str(path.relative_to(tree.ROOT)))
    assert silent == []


def test_names_of_test_modules_are_unique() -> None:
    names = Counter(path.name for path in tree.modules("plugins/", "tests/") if path.name.startswith("test_"))
    assert {name: count for name, count in names.items() if count > 1} == {}
