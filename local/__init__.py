"""The stack on a laptop: the template's routes, triggers and table, with no cloud and no Docker."""
