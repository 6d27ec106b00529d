"""Names of what all flows on the hollow substrate share."""

GROUP, CLUSTER = "flows", "shared"
