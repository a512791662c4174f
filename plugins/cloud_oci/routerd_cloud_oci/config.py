"""Options of the fabric kind `oci`; each has a usable default on an OCI instance."""

from pathlib import Path
from typing import Literal

import attrs


@attrs.frozen(kw_only=True)
class OciOptions:
    """`CloudProviderProfile.spec.options` when the provider is `oci`.

    With `auth: instance_principal` the instance signs with its own certificate; with `config_file`
    it signs with the key that `configFile` names in its section `profile`. `region`, `vnics` (the OCIDs of
    our own VNICs, the primary one first) and `routeTables` (OCIDs) override the metadata service and the
    API, which default to our VNICs and the route tables of their subnets. With an empty list of route
    tables routerd writes no route. `routeRulesLimit` is the tenancy's service limit of route rules in a
    route table, foreign rules included.
    """

    auth: Literal["instance_principal", "config_file"] = "instance_principal"
    config_file: Path = Path("~/.oci/config")
    profile: str = "DEFAULT"
    region: str = ""
    vnics: tuple[str, ...] = ()
    route_tables: tuple[str, ...] | None = None
    route_rules_limit: int = 200

    def __attrs_post_init__(self) -> None:
        if self.route_rules_limit < 1:
            raise ValueError(
                f"routeRulesLimit: {self.route_rules_limit} is not a number of rules; the default is 200"
            )
        for key, values, kind in (
            ("vnics", self.vnics, "vnic"),
            ("routeTables", self.route_tables or (), "routetable"),
        ):
            for value in values:
                if not value.startswith(f"ocid1.{kind}."):
                    raise ValueError(
                        f'{key}: "{value}" is not the OCID of a {kind}; it must start with ocid1.{kind}.'
                    )
