"""Options of the fabric kind `aws`; everything has a sensible value on an EC2 instance."""

from __future__ import annotations

import attrs


@attrs.frozen(kw_only=True)
class AwsOptions:
    """`CloudProviderProfile.spec.options` when the provider is `aws`.

    `region`, `instanceID` and `networkInterfaces` (the primary one first) replace what the metadata
    service says; with all three it is not asked. `routeTables` replaces the route tables of our
    subnets; an explicit empty list means that no route is written. `routeQuota` is how many routes a
    table may hold, where Service Quotas is not to be asked.
    """

    region: str = ""
    instance_id: str = attrs.field(default="", metadata={"key": "instanceID"})
    network_interfaces: tuple[str, ...] = ()
    route_tables: tuple[str, ...] | None = None
    route_quota: int | None = None

    def __attrs_post_init__(self) -> None:
        if self.route_quota is not None and self.route_quota < 1:
            raise ValueError(f"routeQuota: {self.route_quota} is no number of routes; it is 500 by default")
        for key, values, start in (
            ("instanceID", (self.instance_id,) if self.instance_id else (), "i-"),
            ("networkInterfaces", self.network_interfaces, "eni-"),
            ("routeTables", self.route_tables or (), "rtb-"),
        ):
            for value in values:
                if not value.startswith(start):
                    raise ValueError(
                        f'{key}: "{value}" is no identifier of that kind; it starts with {start}'
                    )
