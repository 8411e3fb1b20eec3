"""The WebSocket edge: from an event of a live connection to a turn, and the messages that answer it."""
