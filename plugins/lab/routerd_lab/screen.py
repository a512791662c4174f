"""The lab's output for people: live on a terminal, plain lines elsewhere."""

import json
from collections.abc import Iterable, Mapping
from itertools import permutations

import cattrs
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from routerd_lab.events import Check, Count, Event, Stage, Verdict
from routerd_lab.matrix import Pair

_MARKS = {"running": ("…", "yellow"), "done": ("✓", "green"), "failed": ("✗", "red")}


class Screen:
    """Shows the verdict at the end; the lab calls `finish` once, with none after a crash."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def show(self, event: Event) -> None:
        """Take an event."""

    def finish(self, verdict: Verdict | None) -> None:
        """Print the matrix, the assertions and the verdict."""
        if verdict is not None:
            print_verdict(self.console, verdict)


class PlainScreen(Screen):
    """Prints one line for each event, for logs and pipes."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._counts: dict[str, Count] = {}

    def show(self, event: Event) -> None:
        """Print the event if it is new."""
        match event:
            case Stage(name=name, state="running"):
                self._say(f"{name} ...")
            case Stage(name=name, state=state, seconds=seconds):
                self._say(f"{name} {state} ({seconds:.1f} s)")
            case Count(name=name, have=have, want=want) if self._counts.get(name) != event:
                self._counts[name] = event
                self._say(f"  {name}: {have}/{want}")

    def _say(self, text: str) -> None:
        self.console.print(text, highlight=False, markup=False)


class LiveScreen(Screen):
    """Redraws a table of stages and counters in place."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._stages: dict[str, Stage] = {}
        self._counts: dict[str, Count] = {}
        self._pairs: list[Pair] = []
        self._live = Live(console=console, refresh_per_second=8, get_renderable=self._render, transient=True)
        self._live.start()

    def show(self, event: Event) -> None:
        """Keep the event for the next drawing."""
        match event:
            case Stage():
                self._stages[event.name] = event
            case Count():
                self._counts[event.name] = event
            case Pair():
                self._pairs.append(event)

    def finish(self, verdict: Verdict | None) -> None:
        """Leave the last picture, then print the verdict."""
        self._live.stop()
        self.console.print(self._render())
        super().finish(verdict)

    def _render(self) -> RenderableType:
        stages = Table.grid(padding=(0, 2))
        for stage in self._stages.values():
            mark, colour = _MARKS[stage.state]
            took = f"{stage.seconds:5.1f} s" if stage.state != "running" else ""
            stages.add_row(Text(mark, style=colour), stage.name, Text(took, style="dim"))
        counts = Table.grid(padding=(0, 2))
        for count in self._counts.values():
            style = "green" if count.have >= count.want else "yellow"
            counts.add_row(Text(f"  {count.name}"), Text(f"{count.have}/{count.want}", style=style))
        parts: list[RenderableType] = [stages, counts]
        if self._pairs:
            parts.append(Text(f"  pairs tried: {len(self._pairs)}", style="dim"))
        return Group(*parts)


def matrix_table(pairs: Iterable[Pair]) -> Table:
    """Return the pairs as a table: sources down, targets across."""
    found: Mapping[tuple[str, str], Pair] = {(pair.source, pair.target): pair for pair in pairs}
    names = list(dict.fromkeys(source for source, _ in found))
    table = Table(title="ping and SSH, from the row to the column", title_justify="left")
    table.add_column("")
    for name in names:
        table.add_column(name, justify="center")
    for source in names:
        cells = [_cell(found.get((source, target)), same=source == target) for target in names]
        table.add_row(source, *cells)
    return table


def _cell(pair: Pair | None, *, same: bool) -> Text:
    if same or pair is None:
        return Text("·" if same else "?", style="dim")
    if pair.passed:
        return Text("✓", style="green")
    return Text("ping ✗" if not pair.ping else "ssh ✗", style="bold red")


def print_verdict(console: Console, verdict: Verdict) -> None:
    """Print the summary at the end of a run."""
    if verdict.pairs:
        console.print(matrix_table(verdict.pairs))
    for check in verdict.checks:
        _print_check(console, check)
    for pair in verdict.pairs:
        if not pair.passed:
            console.print(
                f"  {pair.source} -> {pair.target}: {pair.detail}", style="red", markup=False, soft_wrap=True
            )
    if verdict.error:
        console.print(verdict.error, style="red", markup=False, highlight=False, soft_wrap=True)
    times = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in verdict.stages.items())
    console.print(f"stages: {times}", style="dim", highlight=False, soft_wrap=True)
    console.print(f"run directory: {verdict.run_dir}", highlight=False, soft_wrap=True)
    if not verdict.passed:
        console.print(
            f"logs: {verdict.run_dir}/logs, one file for each machine", highlight=False, soft_wrap=True
        )
    if verdict.tarball:
        console.print(
            f"evidence: {verdict.tarball}\nsha256: {verdict.sha256}", highlight=False, soft_wrap=True
        )
    passed = sum(pair.passed for pair in verdict.pairs)
    want = len(list(permutations(range(4), 2))) if not verdict.pairs else len(verdict.pairs)
    word, style = ("PASS", "bold green") if verdict.passed else ("FAIL", "bold red")
    console.print(f"{word}: {passed}/{want} pairs in {verdict.seconds:.1f} s", style=style, highlight=False)


def _print_check(console: Console, check: Check) -> None:
    mark, style = ("✓", "green") if check.passed else ("✗", "red")
    detail = f": {check.detail}" if check.detail else ""
    console.print(
        Text(f"{mark} ", style=style).append(f"{check.name}{detail}", style="default"), soft_wrap=True
    )


class JsonScreen(Screen):
    """Prints only the verdict, as JSON on standard output."""

    def finish(self, verdict: Verdict | None) -> None:
        """Print the verdict."""
        if verdict is not None:
            self.console.file.write(json.dumps(cattrs.unstructure(verdict), indent=2) + "\n")


def choose(console: Console, *, as_json: bool) -> Screen:
    """Return the screen that fits the kind of output."""
    if as_json:
        return JsonScreen(console)
    return LiveScreen(console) if console.is_terminal else PlainScreen(console)
