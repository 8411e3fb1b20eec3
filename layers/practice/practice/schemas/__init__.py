"""What goes over the wire and into the table, as pydantic models. The noun alone is what is stored and returned."""
