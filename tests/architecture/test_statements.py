"""The command that counts statements counts product code, and all of it."""

from __future__ import annotations

from tests import statements


def test_each_statement_counts_for_the_package_of_its_file() -> None:
    files = {
        "core/routerd/errors.py": "import a\n",
        "core/routerd/cli/act/plan.py": "def f():\n    if x:\n        return 1\n",
        "plugins/lab/routerd_lab/world.py": "x = 1; y = 2\n",
    }
    assert statements.count(files) == {"routerd": 1, "routerd.cli": 3, "lab": 2}


def test_the_test_kits_are_not_product_code() -> None:
    present = statements.present()
    assert "core/routerd/spi/table.py" in present
    assert "plugins/lab/routerd_lab/topology.py" in present
    assert not [path for path in present if "/testing/" in path or "/tests/" in path]


def test_the_table_shows_a_revision_beside_the_working_tree() -> None:
    shown = statements.table(
        statements.count({"core/routerd/a.py": "x\n"}), statements.count({"core/routerd/a.py": "x\ny\n"})
    )
    assert shown.splitlines()[-1].split() == ["all", "2", "1", "-50.0%"]
