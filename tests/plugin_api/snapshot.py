"""Every public name with its signature, one a line, read from the source of the public modules.

The text is that of the source: annotations and defaults as they are written. A private base class of ours
disappears; its members are those of the public class.
"""

from __future__ import annotations

import ast
import copy
import enum
import functools
import importlib
import inspect
from collections.abc import Iterator
from types import ModuleType

import attrs

from routerd.spi import API_VERSION

PUBLIC = (
    "routerd.hookspecs",
    "routerd.spi",
    "routerd.spi.site_routes",
    "routerd.spi.cloud.account",
    "routerd.spi.cloud.metadata",
    "routerd.errors",
    "routerd.model.change",
    "routerd.model.names",
    "routerd.model.json_value",
    "routerd.model.addresses",
    "routerd.model.tunnel",
    "routerd.model.route",
    "routerd.model.session",
    "routerd.model.bgp.best_path",
    "routerd.model.bgp.import_policy",
    "routerd.model.bgp.community",
    "routerd.model.claim",
    "routerd.model.specs.claim_text",
    "routerd.model.fabric",
    "routerd.model.resource",
    "routerd.model.intent",
    "routerd.model.subsystem",
    "routerd.model.report.explanation",
    "routerd.cli.for_plugins",
    "routerd.testing.contracts",
    "routerd.testing.context",
    "routerd.testing.clock",
    "routerd.testing.kernel",
    "routerd.testing.live",
    "routerd.testing.tables",
    "routerd.testing.faults",
    "routerd.testing.fakes",
    "routerd.testing.bgp",
    "routerd.testing.pytest_plugin",
)
"""The modules that a plugin and its tests may import, beside `routerd` itself."""

_DUNDERS = {"__init__", "__call__", "__aenter__", "__aexit__", "__iter__", "__aiter__"}
_ABOUT_CALLS = {"property", "classmethod", "staticmethod", "abstractmethod"}


@attrs.frozen(kw_only=True)
class Found:
    """A public name: the module that defines it, its object, and its statement there."""

    module: ModuleType
    name: str
    value: object
    node: ast.stmt


def snapshot(version: tuple[int, int] = API_VERSION) -> str:
    """Return the whole text."""
    lines = sorted((line for name in PUBLIC for line in _module(name)), key=lambda each: each.split(": ", 1))
    return "\n".join([f"# API {'.'.join(map(str, version))}", *lines]) + "\n"


def public() -> dict[str, list[Found]]:
    """Return the public names by module."""
    return {name: list(_names(importlib.import_module(name))) for name in PUBLIC}


def _names(module: ModuleType) -> Iterator[Found]:
    names = getattr(module, "__all__", None)
    if names is None:
        names = [name for name in _statements(module.__name__) if not name.startswith("_")]
    for name in names:
        home = _home(module.__name__, name)
        yield Found(
            module=importlib.import_module(home),
            name=name,
            value=getattr(module, name),
            node=_statements(home)[name],
        )


def _home(module: str, name: str) -> str:
    """Return the module whose own statement makes the name; a package often passes it on."""
    while name not in _statements(module):
        module = _imports(module)[name]
    return module


@functools.cache
def _tree(module: str) -> ast.Module:
    return ast.parse(inspect.getsource(importlib.import_module(module)))


@functools.cache
def _statements(module: str) -> dict[str, ast.stmt]:
    """Return what a module itself defines, by name; no type variables, no logger of its own."""
    found: dict[str, ast.stmt] = {}
    for node in _tree(module).body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            found[node.name] = node
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found[node.target.id] = node
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            found[node.targets[0].id] = node
    return {name: node for name, node in found.items() if "= TypeVar(" not in ast.unparse(node)[:80]}


@functools.cache
def _imports(module: str) -> dict[str, str]:
    return {
        alias.asname or alias.name: node.module
        for node in ast.walk(_tree(module))
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }


def _module(name: str) -> Iterator[str]:
    for found in _names(importlib.import_module(name)):
        where = f"{name}.{found.name}"
        if found.name == "API_VERSION":
            continue  # the first line of the snapshot has it
        if isinstance(found.node, ast.ClassDef):
            yield from _class(where, found.value)  # type: ignore[arg-type]
        else:
            yield from _member(where, found.node, of="")


def _class(where: str, cls: type) -> Iterator[str]:
    kind = _kind(cls)
    bases = ", ".join(_bases(cls))
    how = "".join(f" @{ast.unparse(each)}" for each in _definition(cls).decorator_list)
    yield f"{where}: {kind}({bases}){how}"
    seen: set[str] = set()
    for each in cls.__mro__:
        if each is not cls and (each in _public_classes() or not _is_ours(each)):
            continue
        for node in _definition(each).body:
            for line in _member(where, node, of=kind):
                # What a subclass says replaces what its base says.
                if (name := line.partition(": ")[0]) not in seen:
                    seen.add(name)
                    yield line


def _kind(cls: type) -> str:
    if issubclass(cls, enum.Enum):
        return "enum"
    if getattr(cls, "_is_protocol", False):
        return "protocol"
    if issubclass(cls, BaseException):
        return "exception"
    return "value" if attrs.has(cls) else "class"


def _bases(cls: type) -> Iterator[str]:
    written_bases = _definition(cls).bases
    for written, base in zip(written_bases, _originals(cls) if written_bases else (), strict=True):
        if _is_ours(base) and base not in _public_classes():
            yield from _bases(base)
        else:
            yield ast.unparse(written)


def _originals(cls: type) -> list[type]:
    bases = getattr(cls, "__orig_bases__", None) if "__orig_bases__" in vars(cls) else cls.__bases__
    return [getattr(base, "__origin__", base) for base in bases or ()]


def _is_ours(cls: type) -> bool:
    return cls.__module__.startswith("routerd")


@functools.cache
def _public_classes() -> frozenset[type]:
    return frozenset(
        found.value for names in public().values() for found in names if isinstance(found.value, type)
    )


def _definition(cls: type) -> ast.ClassDef:
    node = _statements(cls.__module__)[cls.__name__]
    assert isinstance(node, ast.ClassDef)
    return node


def _member(where: str, node: ast.stmt, *, of: str) -> Iterator[str]:
    """Yield the line of a statement, below `where` if it is `of` a class."""

    def named(name: str) -> str:
        return f"{where}.{name}" if of else where

    match node:
        case ast.AnnAssign(target=ast.Name(id=name)) if not name.startswith("_"):
            value = f" = {ast.unparse(node.value)}" if node.value is not None else ""
            yield f"{named(name)}: field {_annotation(node.annotation)}{value}"
        case ast.Assign(targets=[ast.Name(id=name), *_]) if not name.startswith("_"):
            yield f"{named(name)}: constant {ast.unparse(node.value)}"
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
            if not name.startswith("_") or (of and name in _DUNDERS):
                yield f"{named(name)}: {_function(node, method=bool(of))}"
            if name == "__init__":
                yield from _attributes(where, node)


def _attributes(where: str, init: ast.stmt) -> Iterator[str]:
    """Yield the public attributes that `__init__` gives to an instance."""
    for node in ast.walk(init):
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        if not isinstance(node, (ast.Assign, ast.AnnAssign)) or not isinstance(target, ast.Attribute):
            continue
        if ast.unparse(target.value) == "self" and not target.attr.startswith("_"):
            kind = f" {_annotation(node.annotation)}" if isinstance(node, ast.AnnAssign) else ""
            yield f"{where}.{target.attr}: attribute{kind}"


def _function(node: ast.FunctionDef | ast.AsyncFunctionDef, *, method: bool) -> str:
    node = copy.deepcopy(node)
    said = [ast.unparse(each) for each in node.decorator_list]
    about = [each for each in said if each in _ABOUT_CALLS]
    if any(each.startswith(("pytest.fixture", "pytest_asyncio.fixture")) for each in said):
        about = ["fixture"]
    elif method and node.name.startswith("test_"):
        return "rule"
    arguments = node.args
    if method and "staticmethod" not in about:
        first = arguments.posonlyargs or arguments.args
        first.pop(0)
    for each in ast.walk(arguments):
        if isinstance(each, ast.arg) and each.annotation is not None:
            each.annotation = ast.parse(_annotation(each.annotation), mode="eval").body
    kind = "async def" if isinstance(node, ast.AsyncFunctionDef) else "def"
    returned = f" -> {_annotation(node.returns)}" if node.returns is not None else ""
    return f"{' '.join([*about, kind])} ({ast.unparse(arguments)}){returned}"


class _Unquoted(ast.NodeTransformer):
    """Replaces a name in quotes by the name: whether it needs them is not part of the contract."""

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        return node if ast.unparse(node.value) == "Literal" else self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        return ast.parse(node.value, mode="eval").body if isinstance(node.value, str) else node


def _annotation(node: ast.expr) -> str:
    return ast.unparse(_Unquoted().visit(copy.deepcopy(node)))
