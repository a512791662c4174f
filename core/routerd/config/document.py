"""YAML as nodes with line numbers. Knows nothing of resources."""

from collections.abc import Iterator
from ipaddress import ip_interface
from pathlib import Path

import attrs
import yaml

from routerd.errors import ConfigError, Problem

MAX_BYTES = 8 << 20
MERGE_TAG = "tag:yaml.org,2002:merge"


@attrs.frozen(kw_only=True)
class Document:
    """The mapping of a file's first YAML document; messages call it `file`."""

    file: str
    root: yaml.MappingNode = attrs.field(eq=False, repr=False)
    warnings: tuple[Problem, ...] = ()


def read_document(path: Path) -> Document:
    """Read the file at `path` once; `ConfigError` says why it is unusable."""
    return parse_document(read(path), str(path))


def parse_document(text: str, file: str) -> Document:
    """Return the document in `text`; `ConfigError` says why it has none."""
    root, warnings = compose(text, file)
    return Document(file=file, root=root, warnings=tuple(warnings))


def read(path: Path) -> str:
    """Return the text of a configuration file; `ConfigError` says why it is unreadable."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ConfigError.single(
                str(path), f"is larger than {MAX_BYTES >> 20} MiB", hint="name a configuration file"
            )
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ConfigError.single(str(path), "no such file", hint="name one with --config") from error
    except IsADirectoryError as error:
        raise ConfigError.single(str(path), "is a directory; name a file") from error
    except UnicodeDecodeError as error:
        raise ConfigError.single(str(path), f"is not UTF-8 text (byte {error.start})") from error
    except OSError as error:
        raise ConfigError.single(str(path), f"cannot be read: {error.strerror}") from error


def compose(text: str, file: str) -> tuple[yaml.MappingNode, list[Problem]]:
    """Return the first document's mapping and warnings; `ConfigError` when `text` has none."""
    try:
        nodes = list(_documents(text))
        for node in nodes[:1]:
            _merge(node, set(), set())
    except RecursionError as error:
        raise ConfigError.single(file, "not valid YAML: nested too deeply") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 0
        context = error.context
        if context and error.context_mark and error.context_mark.line + 1 != line:
            context += f" that begins on line {error.context_mark.line + 1}"
        what = ", ".join(part for part in (context, error.problem) if part)
        raise ConfigError.single(file, f"not valid YAML: {what}", line=line) from error
    except yaml.YAMLError as error:
        raise ConfigError.single(file, f"not valid YAML: {error}") from error
    if not nodes:
        raise ConfigError.single(file, "the file is empty", hint="examples/ holds files to start from")
    if not isinstance(nodes[0], yaml.MappingNode):
        raise ConfigError.single(
            file, "expected a mapping with apiVersion, kind, metadata and spec", line=line_of(nodes[0])
        )
    warnings = []
    if len(nodes) > 1:
        warnings.append(
            Problem(
                file=file,
                line=line_of(nodes[1]),
                resource="",
                path="",
                message="routerd reads only the first YAML document and ignores this one",
                severity="warning",
            )
        )
    return nodes[0], warnings


def _documents(text: str) -> Iterator[yaml.Node]:
    loader = yaml.SafeLoader(text)
    try:
        while loader.check_node():
            node = loader.get_node()
            if node is not None:
                yield node
    finally:
        loader.dispose()


def _merge(node: yaml.Node, done: set[int], above: set[int]) -> None:
    """Apply every merge key (`<<: *anchor`) below `node`; refuse an anchor inside itself."""
    if id(node) in above:
        raise yaml.MarkedYAMLError(problem="an anchor contains itself", problem_mark=node.start_mark)
    if id(node) in done or not isinstance(node, yaml.CollectionNode):
        return
    above.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _merge(item, done, above)
    elif isinstance(node, yaml.MappingNode):
        own = [(key, value) for key, value in node.value if key.tag != MERGE_TAG]
        merged: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        for key, value in node.value:
            _merge(value, done, above)
            if key.tag != MERGE_TAG:
                continue
            for source in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                if not isinstance(source, yaml.MappingNode):
                    raise yaml.MarkedYAMLError(
                        problem="<< needs a mapping, or a list of mappings", problem_mark=key.start_mark
                    )
                for inner in source.value:
                    merged.setdefault(str(inner[0].value), inner)
        given = {str(key.value) for key, _ in own}
        node.value = own + [pair for name, pair in merged.items() if name not in given]
    above.discard(id(node))
    done.add(id(node))


def repeated_keys(node: yaml.Node, path: str) -> Iterator[tuple[yaml.Node, str]]:
    """Yield each repeated key of a mapping, with its path."""
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield from repeated_keys(item, f"{path}[{index}]")
    elif isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            name = str(key.value)
            if name in seen:
                yield key, f"{path}.{name}"
            seen.add(name)
            yield from repeated_keys(value, f"{path}.{name}")


def line_of(node: yaml.Node) -> int:
    """Return the line of a node, counted from 1."""
    return int(node.start_mark.line) + 1


def plain(node: yaml.Node) -> object:
    """Return a node as plain Python data, as `yaml.safe_load` would; `ValueError` when that fails."""
    loader = yaml.SafeLoader("")
    try:
        return loader.construct_document(node)
    except yaml.YAMLError as error:
        raise ValueError(getattr(error, "problem", None) or str(error)) from error
    finally:
        loader.dispose()


def is_null(node: yaml.Node) -> bool:
    """Say whether a node is `null`, or nothing."""
    return isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null"


def ipv6_hint(text: str) -> str:
    """Return the remedy where a file has IPv6, with or without a port, in place of IPv4; else nothing."""
    try:
        six = ip_interface(text.strip().partition("]")[0].lstrip("[")).version == 6
    except ValueError:
        six = False
    return "IPv6 does not work here; write IPv4" if six else ""


def describe(node: yaml.Node) -> str:
    """Return a node in words, for a message."""
    if isinstance(node, yaml.MappingNode):
        return "a mapping"
    if isinstance(node, yaml.SequenceNode):
        return "a list"
    return "nothing" if is_null(node) else f'"{node.value}"'
