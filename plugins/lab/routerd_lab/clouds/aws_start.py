"""Imports moto in half its time: at its start it reads a hundred files of JSON, most of them for nobody."""

import functools
import importlib
import os
from typing import Any

_OFFERINGS = "instance_type_offerings"


def ec2_models(region: str) -> Any:  # noqa: ANN401 - Any: moto's models have no public types
    """Return `moto.ec2.models`, which then knows the types of instances of one region alone."""
    # Loading hundreds of unused machine images would take moto most of a second.
    os.environ.setdefault("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")
    from botocore.loaders import JSONFileLoader  # noqa: PLC0415 - slow
    from moto.utilities import utils  # noqa: PLC0415 - as above

    loader: Any = JSONFileLoader  # Any: its method is replaced for the time of the import
    load_file, load_resource = loader.load_file, utils.load_resource

    def of_region(resource: str) -> Any:  # noqa: ANN401 - Any: whatever the file holds
        if _OFFERINGS in resource and f"/{region}." not in resource:
            return []
        return load_resource(resource)

    # Four sessions of boto3 read the same list of endpoints, each by a loader of its own.
    once = functools.cache(functools.partial(load_file, loader()))
    loader.load_file = lambda _, path: once(path)
    utils.load_resource = of_region
    try:
        return importlib.import_module("moto.ec2.models")
    finally:
        loader.load_file, utils.load_resource = load_file, load_resource
