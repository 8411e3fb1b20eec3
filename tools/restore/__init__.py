"""Point-in-time restore of the table. `python -m tools.restore --help` lists the commands."""
