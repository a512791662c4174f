"""The configuration file: read, checked and made into values; every mistake has its line.

`document` reads YAML, `structure` converts fields to their types, `kinds` lists the kinds and
fields that a file may have, `rules` checks what the types cannot, `loader` puts them together,
`render` writes a resource back. What the resources mean for the router is decided in `reconcile`.
"""

from routerd.config.configuration import Configuration, PluginSection, ReconcileSettings
from routerd.config.document import Document, parse_document, read_document
from routerd.config.loader import examine, load, load_text, plugin_names
from routerd.config.render import to_document, to_json, to_yaml
from routerd.config.structure import structure_options

__all__ = [
    "Configuration",
    "Document",
    "PluginSection",
    "ReconcileSettings",
    "examine",
    "load",
    "load_text",
    "parse_document",
    "plugin_names",
    "read_document",
    "structure_options",
    "to_document",
    "to_json",
    "to_yaml",
]
