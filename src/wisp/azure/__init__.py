"""Names and formats of Azure: clouds, authorities, identifiers. Pure."""
