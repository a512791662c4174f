"""The type of a JSON document in Python."""

JSONValue = None | bool | int | float | str | list["JSONValue"] | dict[str, "JSONValue"]
