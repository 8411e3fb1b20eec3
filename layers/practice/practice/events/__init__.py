"""What functions do that no HTTP call starts."""
