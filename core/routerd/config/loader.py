"""Reads a configuration file: reports every problem in one run and uses nothing while there is one."""

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import yaml

from routerd.config import credentials
from routerd.config.configuration import Configuration, PluginSection, ReconcileSettings
from routerd.config.document import Document, describe, line_of, parse_document, read_document
from routerd.config.kinds import BUILTIN, RETIRED, RETIRED_FIELDS, without_effect
from routerd.config.rules.validate import validate
from routerd.config.structure import INVALID, Structurer
from routerd.errors import ConfigError, Problem
from routerd.model.names import NodeName, Ref
from routerd.model.resource import Resource, ResourceId, ResourceKind, SourceLocation

ROUTER_API = "routerd.net/v1alpha1"

_WITH_OPTIONS = ("CloudProviderProfile", "SAMTransportProfile", "TunnelInterface", "WireGuardInterface")
"""Kinds with `spec.options`, which follow the schema of a provider."""

_JOINING = ("SAMEnrollmentPolicy", "SAMEnrollmentClient")
"""Kinds with `joinMethod`, whose `joinOptions` follow the schema of that method."""


def load(path: Path, *, kinds: Sequence[ResourceKind] = (), lenient: bool = False) -> Configuration:
    """Read the file at `path`; plugins add `kinds`. Raises `ConfigError`."""
    return _refuse_errors(*examine(read_document(path), kinds=kinds, lenient=lenient))


def load_text(
    text: str, *, file: str, kinds: Sequence[ResourceKind] = (), lenient: bool = False
) -> Configuration:
    """Read a configuration from `text`; messages call it `file`. Raises `ConfigError`."""
    return _refuse_errors(*examine(parse_document(text, file), kinds=kinds, lenient=lenient))


def examine(
    document: Document,
    *,
    kinds: Sequence[ResourceKind] = (),
    lenient: bool = False,
    all_kinds: bool = True,
) -> tuple[Configuration, list[Problem]]:
    """Return the valid part of a document, and all its problems: errors and warnings.

    If no problem is an error, the configuration is usable; otherwise it only serves further checks.
    `all_kinds=False` says that plugins are missing from `kinds`, so that an unknown kind is not an
    error.
    """
    structurer = Structurer(file=document.file, lenient=lenient, problems=list(document.warnings))
    return _Reader(structurer, (*BUILTIN, *kinds), all_kinds=all_kinds).read(document.root)


def _refuse_errors(configuration: Configuration, problems: list[Problem]) -> Configuration:
    if errors := [problem for problem in problems if problem.severity == "error"]:
        raise ConfigError(errors)
    return attrs.evolve(configuration, warnings=tuple(problems))


class _Reader:
    def __init__(self, structurer: Structurer, kinds: Sequence[ResourceKind], *, all_kinds: bool) -> None:
        self._s = structurer
        self._all_kinds = all_kinds
        self._kinds = {kind.kind: kind for kind in kinds}
        self._options: dict[str, yaml.Node] = {}
        self._join_options: dict[str, yaml.Node] = {}
        self._broken: set[str] = set()
        self._reconcile = ReconcileSettings()

    def read(self, root: yaml.MappingNode) -> tuple[Configuration, list[Problem]]:
        s = self._s
        known = dict.fromkeys(("apiVersion", "kind", "metadata", "plugins", "spec"))
        top = s.entries(root, "", known)
        self._expect(root, top, "apiVersion", ROUTER_API)
        self._expect(root, top, "kind", "Router")
        name = self._metadata(root, top)[0]
        plugins = self._plugins(top.get("plugins"))
        resources = self._spec(root, top.get("spec"))
        s.problems += validate(resources, s.file, frozenset(self._broken))
        for resource in resources:
            s.problems += without_effect(resource)
        problems = sorted(s.problems, key=lambda problem: (problem.line, problem.path))
        configuration = Configuration(
            file=s.file,
            node=NodeName(name),
            plugins=plugins,
            resources=tuple(resources),
            options=self._options,
            join_options=self._join_options,
            reconcile=self._reconcile,
        )
        return configuration, problems

    def _expect(self, root: yaml.Node, top: dict[str, yaml.Node], key: str, value: str) -> None:
        node = top.get(key)
        if node is None:
            self._s.report(root, key, f"is required and must be {value}")
        elif node.value != value:
            self._s.report(node, key, f"{describe(node)} is not {value}")

    def _metadata(self, parent: yaml.Node, entries: dict[str, yaml.Node]) -> tuple[str, dict[str, str]]:
        s = self._s
        node = entries.get("metadata")
        if not isinstance(node, yaml.MappingNode):
            s.report(node or parent, "metadata", "is required, with a name")
            return "", {}
        fields = s.entries(node, "metadata", dict.fromkeys(("name", "ownerRefs", "annotations", "labels")))
        if "name" not in fields:
            s.report(node, "metadata.name", "is required")
            return "", {}
        name = s.structure(fields["name"], str, "metadata.name")
        annotations: Any = {}
        if "annotations" in fields:
            annotations = s.structure(fields["annotations"], Mapping[str, str], "metadata.annotations")
        if name is not INVALID and not name.strip():
            s.report(fields["name"], "metadata.name", "is empty")
        return ("" if name is INVALID else name.strip()), ({} if annotations is INVALID else annotations)

    def _plugins(self, node: yaml.Node | None) -> tuple[PluginSection, ...] | None:
        if node is None:
            return None
        if isinstance(node, yaml.SequenceNode):
            names = [
                (each, each.value if isinstance(each, yaml.ScalarNode) else None, None) for each in node.value
            ]
        elif isinstance(node, yaml.MappingNode):
            names = [(key, key.value, value) for key, value in node.value]
        else:
            self._s.report(node, "plugins", "expected a list of names, or a mapping from name to options")
            return None
        sections: list[PluginSection] = []
        for place, name, options in names:
            if not isinstance(name, str) or not name:
                self._s.report(place, "plugins", "a plugin's name must be plain text")
            elif any(section.name == name for section in sections):
                self._s.report(place, f"plugins.{name}", "is given twice")
            else:
                sections.append(PluginSection(name=name, line=line_of(place), node=options))
        return tuple(sections)

    def _spec(self, root: yaml.Node, node: yaml.Node | None) -> list[Resource[object]]:
        s = self._s
        if not isinstance(node, yaml.MappingNode):
            s.report(node or root, "spec", "is required, with a list of resources")
            return []
        fields = s.entries(node, "spec", dict.fromkeys(("reconcile", "resources")))
        if "reconcile" in fields:
            settings = s.structure(fields["reconcile"], ReconcileSettings, "spec.reconcile")
            self._reconcile = self._reconcile if settings is INVALID else settings
        listed = fields.get("resources")
        if listed is None:
            return []
        if not isinstance(listed, yaml.SequenceNode):
            s.report(listed, "spec.resources", "expected a list")
            return []
        resources: list[Resource[object]] = []
        seen: dict[ResourceId, int] = {}
        for index, each in enumerate(listed.value):
            resource = self._resource(each, f"spec.resources[{index}]")
            if resource is None:
                # Its own problem is in the report; references to it count as valid.
                self._broken.add(Ref.parse(s.resource).name)
            s.resource = ""
            if resource is None:
                continue
            if resource.id in seen:
                s.resource = resource.id.ref
                s.report(each, "", f"is defined twice, first on line {seen[resource.id]}")
                s.resource = ""
                continue
            seen[resource.id] = resource.source.line
            resources.append(resource)
        return resources

    def _resource(self, node: yaml.Node, where: str) -> Resource[object] | None:
        s = self._s
        if not isinstance(node, yaml.MappingNode):
            s.report(node, where, "expected a resource with apiVersion, kind, metadata and spec")
            return None
        s.resource = where
        known = dict.fromkeys(("apiVersion", "kind", "metadata", "spec", "status"))
        peek = {key.value: value for key, value in node.value if isinstance(key, yaml.ScalarNode)}
        kind_name = peek["kind"].value if isinstance(peek.get("kind"), yaml.ScalarNode) else ""
        meta = peek.get("metadata")
        if isinstance(meta, yaml.MappingNode):
            given = {key.value: value.value for key, value in meta.value if isinstance(key, yaml.ScalarNode)}
            s.resource = f"{kind_name}/{given.get('name', '?')}"
        before = sum(problem.severity == "error" for problem in s.problems)
        entries = s.entries(node, "", known)
        name, annotations = self._metadata(node, entries)
        kind = self._kind(node, entries, kind_name)
        if kind is None:
            return None
        s.lines = {"spec": line_of(entries.get("spec", node))}
        s.forget_guesses()
        refused = self._retired(entries.get("spec"), kind.kind)
        if kind.kind == "CloudProviderProfile":
            refused |= self._holds_credentials(entries.get("spec"), "spec", credentials.INSTEAD)
        if kind.kind in _JOINING:
            options = _child(entries.get("spec"), "joinOptions")
            refused |= self._holds_credentials(options, "spec.joinOptions", credentials.JOIN_INSTEAD)
        spec = INVALID if refused else s.attributes(entries.get("spec", _empty(node)), kind.spec, "spec")
        if spec is INVALID or sum(problem.severity == "error" for problem in s.problems) > before:
            return None
        if kind.kind in _WITH_OPTIONS:
            options = _child(entries.get("spec"), "options")
            if options is not None:
                self._options[f"{kind.kind}/{name}"] = options
        if kind.kind in _JOINING:
            options = _child(entries.get("spec"), "joinOptions")
            if options is not None:
                self._join_options[f"{kind.kind}/{name}"] = options
        return Resource(
            id=ResourceId(kind.api_version, kind.kind, name),
            spec=spec,
            annotations=annotations,
            source=SourceLocation(s.file, line_of(node), dict(s.lines)),
        )

    def _kind(self, node: yaml.Node, entries: dict[str, yaml.Node], name: str) -> ResourceKind | None:
        s = self._s
        if "kind" not in entries:
            s.report(node, "kind", "is required")
            return None
        if name in RETIRED:
            s.report(entries["kind"], "kind", f"routerd has no kind {name}", RETIRED[name])
            return None
        kind = self._kinds.get(name)
        if kind is None:
            close = difflib.get_close_matches(name, self._kinds, n=1)
            if not close and not self._all_kinds:
                return None
            hint = f"did you mean {close[0]}?" if close else "routerd plugins lists the kinds of plugins"
            s.report(entries["kind"], "kind", f'unknown kind "{name}"', hint)
            return None
        given = entries.get("apiVersion")
        if given is None or given.value != kind.api_version:
            got = f"{describe(given)} is wrong" if given is not None else "is required"
            s.report(given or node, "apiVersion", f"{got}; {name} is of {kind.api_version}")
            return None
        if kind.runtime_only:
            s.report(entries["kind"], "kind", f"{name} is made at run time and must not be in a file")
            return None
        return kind

    def _retired(self, spec: yaml.Node | None, kind: str) -> bool:
        found = False
        for (owner, path), advice in RETIRED_FIELDS.items():
            node = spec
            for part in path.split("."):
                node = _child(node, part)
            if owner in (kind, "*") and node is not None:
                self._s.report(node, f"spec.{path}", "is not a field of routerd", advice)
                found = True
        return found

    def _holds_credentials(self, node: yaml.Node | None, where: str, instead: str) -> bool:
        found = False
        for key, path in credentials.written(node, where):
            self._s.report(key, path, credentials.REFUSED, instead)
            found = True
        return found


def _child(node: yaml.Node | None, key: str) -> yaml.Node | None:
    if not isinstance(node, yaml.MappingNode):
        return None
    return next((value for name, value in node.value if name.value == key), None)


def _empty(node: yaml.Node) -> yaml.MappingNode:
    return yaml.MappingNode("tag:yaml.org,2002:map", [], node.start_mark, node.end_mark)


def plugin_names(document: Document) -> tuple[str, ...] | None:
    """Return the plugins that a document names; reads nothing else of it.

    Plugins add kinds of resource, so `examine` needs them loaded. `None` when the document has no
    `plugins:`; `examine` reports the problems of that section.
    """
    node = _child(document.root, "plugins")
    if isinstance(node, yaml.SequenceNode):
        names = [each.value for each in node.value]
    elif isinstance(node, yaml.MappingNode):
        names = [key.value for key, _ in node.value]
    else:
        return None
    return tuple(dict.fromkeys(name for name in names if isinstance(name, str)))
