"""Going back to an earlier state of the table. `python -m tools.restore` says how."""
