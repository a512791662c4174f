"""What an operator finds to read about a plugin: its summary, its README, its options."""

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator
from itertools import pairwise

from routerd.model.specs.keys import fields_of
from routerd.plugins.loading import LoadedPlugin
from routerd.spi import NoOptions

LEAST_LINES = 5
"""Minimum number of lines of a README that says something."""


def undocumented(plugin: LoadedPlugin, readme: str) -> list[str]:
    """Return what is missing, each with its remedy."""
    return list(_missing(plugin, readme))


def _missing(plugin: LoadedPlugin, readme: str) -> Iterator[str]:
    if not plugin.info.summary.strip():
        yield "PluginInfo has no summary; say in one line what the plugin does"
    lines = [line for line in readme.splitlines() if line.strip()]
    if len(lines) < LEAST_LINES:
        yield f"its README has fewer than {LEAST_LINES} lines; name it as `readme` in pyproject.toml"
    for options in sorted(_options(plugin), key=lambda each: each.__name__):
        own = inspect.getdoc(options) or ""
        # attrs writes a docstring of its own for none of its classes; object's is not one either.
        if not own.strip() or options.__doc__ is None:
            yield f"options {options.__name__}: no docstring; say what they are for"
        described = _described(options)
        for key, (field, _) in fields_of(options).items():  # type: ignore[arg-type]  # a class is hashable
            names = rf"\b({re.escape(field.name)}|{re.escape(key)})\b"
            if field.name not in described and not re.search(names, f"{own}\n{readme}"):
                yield f"option {key} of {options.__name__}: describe it in the docstring or in the README"


def _options(plugin: LoadedPlugin) -> set[type[object]]:
    """Return the classes that a file can fill in: options, and the specs of resources."""
    providers = (
        *plugin.transports, *plugin.routings, *plugin.enrollments, *plugin.fabrics, *plugin.subsystems
    )  # fmt: skip
    found = {plugin.info.config, *(provider.options for provider in providers)}
    found |= {mode.tunnel for mode in plugin.transports}
    found |= {end for method in plugin.enrollments for end in (method.policy, method.client)}
    found |= {kind.spec for kind in plugin.resource_kinds}
    return found - {NoOptions}


def _described(options: type[object]) -> set[str]:
    """Return the fields with a docstring of their own: a text below the field."""
    try:
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(options))).body
    except (OSError, TypeError, SyntaxError, ValueError):
        return set()
    body = tree.body if isinstance(tree, ast.ClassDef) else []
    return {
        field.target.id
        for field, text in pairwise(body)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant)
    }
