"""Options of the fabric kind `azure`; everything has a sensible value on an Azure VM."""

import attrs


@attrs.frozen(kw_only=True)
class AzureOptions:
    """`CloudProviderProfile.spec.options` when the provider is `azure`.

    `subscriptionID`, `resourceGroup` (where our network interfaces are), `instanceID` and
    `networkInterfaces` (resource IDs, the primary one first) replace what the metadata service and
    the API say. `routeTables` (resource IDs) replaces the route tables of our subnets; with an explicit
    empty list routerd writes no route. `routesPerRouteTable` replaces the subscription's limit of routes;
    with 0 routerd asks for it. `clientID` selects one of several user-assigned identities.
    """

    subscription_id: str = attrs.field(default="", metadata={"key": "subscriptionID"})
    resource_group: str = ""
    instance_id: str = attrs.field(default="", metadata={"key": "instanceID"})
    network_interfaces: tuple[str, ...] = ()
    route_tables: tuple[str, ...] | None = None
    routes_per_route_table: int = attrs.field(default=0, validator=attrs.validators.ge(0))
    client_id: str = attrs.field(default="", metadata={"key": "clientID"})

    def __attrs_post_init__(self) -> None:
        for key, values, kind in (
            ("instanceID", (self.instance_id,) if self.instance_id else (), "virtualMachines"),
            ("networkInterfaces", self.network_interfaces, "networkInterfaces"),
            ("routeTables", self.route_tables or (), "routeTables"),
        ):
            for value in values:
                parts = value.split("/")
                if (
                    not value.startswith("/subscriptions/")
                    or len(parts) != 9
                    or parts[7].lower() != kind.lower()
                ):
                    raise ValueError(
                        f'{key}: "{value}" is not a resource ID; it must have the form '
                        f"/subscriptions/ID/resourceGroups/NAME/providers/PROVIDER/{kind}/NAME"
                    )
