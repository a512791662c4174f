"""Options of the fabric kind `aws`; everything has a sensible value on an EC2 instance."""

import attrs


@attrs.frozen(kw_only=True)
class AwsOptions:
    """`CloudProviderProfile.spec.options` when the provider is `aws`.

    `region`, `instanceID` and `networkInterfaces` (the primary one first) replace what the metadata
    service says; with all three routerd does not ask it. `routeTables` replaces the route tables of our
    subnets; with an explicit empty list routerd writes no route. `routeQuota` is the number of routes
    that a table may hold; with it routerd does not ask Service Quotas.
    """

    region: str = ""
    instance_id: str = attrs.field(default="", metadata={"key": "instanceID"})
    network_interfaces: tuple[str, ...] = ()
    route_tables: tuple[str, ...] | None = None
    route_quota: int | None = None

    def __attrs_post_init__(self) -> None:
        if self.route_quota is not None and self.route_quota < 1:
            raise ValueError(
                f"routeQuota: {self.route_quota} is not a number of routes; AWS allows 500 by default"
            )
        for key, values, start in (
            ("instanceID", (self.instance_id,) if self.instance_id else (), "i-"),
            ("networkInterfaces", self.network_interfaces, "eni-"),
            ("routeTables", self.route_tables or (), "rtb-"),
        ):
            for value in values:
                if not value.startswith(start):
                    raise ValueError(
                        f'{key}: "{value}" is not an identifier of that kind; it must start with {start}'
                    )
