"""Measures the unit tests: a seeded sample of mutants, each against the unit tests of its package.

    python -m tests.mutate [--count 400] [--seed 1] [--jobs 2]

cosmic-ray makes the mutants. They live in copies of the tree, never in the tree itself. A mutant of an
annotation is left out, because annotations are not evaluated. The last lines are the share of killed
mutants and the survivors with their differences.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue

import attrs
from cosmic_ray.commands import init
from cosmic_ray.work_db import WorkDB, use_db
from cosmic_ray.work_item import MutationSpec
from tests.mutate.suites import SUITES

ROOT = Path(__file__).parents[2]
SECONDS = 300.0
"""Maximum seconds of one run of the tests; a mutant that takes longer counts as killed."""

_MUTATE = """
import sys, json
from pathlib import Path
from cosmic_ray.mutating import mutate_and_test
from cosmic_ray.work_item import MutationSpec
spec = json.loads(sys.argv[1])
spec["module_path"] = Path(spec["module_path"])
for name in ("start_pos", "end_pos"):
    spec[name] = tuple(spec[name])
result = mutate_and_test([MutationSpec(**spec)], sys.argv[2], float(sys.argv[3]))
print(json.dumps({"outcome": str(result.test_outcome and result.test_outcome.value), "diff": result.diff}))
"""


@attrs.frozen
class Verdict:
    """One mutant and what became of it: `killed`, `survived` or `incompetent`."""

    mutant: MutationSpec
    outcome: str
    diff: str


def main() -> int:
    """Measure and print; the exit status is 0 unless the unmutated tests fail."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutate")
    parser.add_argument("--count", type=int, default=400, help="mutants in the sample")
    parser.add_argument("--seed", type=int, default=1, help="of the sample")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="mutants at a time")
    asked = parser.parse_args()
    os.chdir(ROOT)
    everything = sorted(mutants(), key=order)
    sample = random.Random(asked.seed).sample(everything, min(asked.count, len(everything)))
    say(f"{len(everything)} mutants, {len(sample)} in the sample of seed {asked.seed}")
    with tempfile.TemporaryDirectory(prefix="routerd-mutate-") as scratch:
        copies: SimpleQueue[Path] = SimpleQueue()
        for number in range(asked.jobs):
            copies.put(copied(Path(scratch) / str(number)))
        if failed := [suite for suite in SUITES if not sound(copies, suite)]:
            say(f"the tests of {', '.join(failed)} fail without a mutant; mend them first")
            return 1
        with ThreadPoolExecutor(asked.jobs) as pool:
            verdicts = list(pool.map(lambda mutant: judged(copies, mutant), sample))
    report(verdicts)
    return 0


def order(mutant: MutationSpec) -> tuple[str, tuple[int, int], str, int]:
    """Return the place of a mutant in the order from which the sample is drawn."""
    return str(mutant.module_path), mutant.start_pos, mutant.operator_name, mutant.occurrence


def mutants() -> Iterator[MutationSpec]:
    """Yield every mutant of the measured parts that can have an effect."""
    with use_db(":memory:", WorkDB.Mode.create) as found:
        paths = [path for part in SUITES for path in sorted(modules(part))]
        init(paths, found, {})
        noise = {path: annotations(path) for path in paths}
        for item in found.work_items:
            for mutant in item.mutations:
                if not any(begin <= mutant.start_pos < end for begin, end in noise[mutant.module_path]):
                    yield mutant


def modules(part: str) -> Iterator[Path]:
    """Yield the modules of a part, relative to the root."""
    path = Path(part)
    return iter([path]) if path.suffix else path.rglob("*.py")


def annotations(path: Path) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Return where the annotations of a module begin and end: line from 1, column from 0."""
    nodes: list[ast.expr | None] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.arg | ast.AnnAssign):
            nodes.append(node.annotation)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            nodes.append(node.returns)
    return [
        ((node.lineno, node.col_offset), (node.end_lineno or 0, node.end_col_offset or 0))
        for node in nodes
        if node is not None
    ]


def copied(place: Path) -> Path:
    """Copy the files that git knows to `place` and return it."""
    listed = subprocess.run(["git", "ls-files", "-z"], capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        target = place / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(name, target, follow_symlinks=False)
    return place


def suite_of(path: Path) -> str:
    """Return the measured part that a module belongs to."""
    return next(part for part in SUITES if path.as_posix().startswith(part))


def command(suite: str) -> str:
    """Return the command line that runs a part's tests, up to the first failure."""
    words = [sys.executable, "-m", "pytest", "-q", "-x", "-n", "0", "-p", "no:cacheprovider"]
    return " ".join([*words, "-m", "'not live'", *SUITES[suite]])


def environment(copy: Path) -> dict[str, str]:
    """Return an environment in which a copy's own core is imported."""
    return {**os.environ, "PYTHONPATH": str(copy / "core"), "PYTHONDONTWRITEBYTECODE": "1", "CI": "1"}


def sound(copies: SimpleQueue[Path], suite: str) -> bool:
    """Say whether a part's tests pass without a mutant."""
    copy = copies.get()
    try:
        done = subprocess.run(command(suite), shell=True, cwd=copy, env=environment(copy), check=False)
    finally:
        copies.put(copy)
    return done.returncode == 0


def judged(copies: SimpleQueue[Path], mutant: MutationSpec) -> Verdict:
    """Run the tests of one mutant in a copy that no other mutant uses."""
    copy = copies.get()
    try:
        spec = {**attrs.asdict(mutant), "module_path": str(mutant.module_path)}
        words = [
            sys.executable,
            "-c",
            _MUTATE,
            json.dumps(spec),
            command(suite_of(mutant.module_path)),
            str(SECONDS),
        ]
        done = subprocess.run(
            words, capture_output=True, text=True, cwd=copy, env=environment(copy), check=False
        )
    finally:
        copies.put(copy)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    answer = json.loads(done.stdout.splitlines()[-1])
    say("." if answer["outcome"] != "survived" else "S", end="")
    return Verdict(mutant, answer["outcome"], answer["diff"] or "")


def say(text: str = "", *, end: str = "\n") -> None:
    """Print at once."""
    sys.stdout.write(f"{text}{end}")
    sys.stdout.flush()


def report(verdicts: Sequence[Verdict]) -> None:
    """Print the survivors and the share of killed mutants, in all and by part."""
    survivors = [each for each in verdicts if each.outcome == "survived"]
    say()
    for each in survivors:
        place = f"{each.mutant.module_path}:{each.mutant.start_pos[0]}"
        say(f"--- {place} {each.mutant.operator_name}\n{each.diff}")
    for part in SUITES:
        of = [each for each in verdicts if suite_of(each.mutant.module_path) == part]
        alive = sum(each in survivors for each in of)
        if of:
            say(f"{part}: {len(of) - alive} of {len(of)} killed ({100 * (len(of) - alive) / len(of):.0f} %)")
    killed = len(verdicts) - len(survivors)
    say(f"{killed} of {len(verdicts)} killed ({100 * killed / max(1, len(verdicts)):.0f} %)")


if __name__ == "__main__":
    sys.exit(main())
