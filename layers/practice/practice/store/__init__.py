"""What the endpoints ask of the table: one module a noun, one function a request pattern. `docs/table.md` prices them."""
