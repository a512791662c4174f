"""A packet filter between the sites of a fabric: the kind `FabricPolicy`, and its table of nftables."""
