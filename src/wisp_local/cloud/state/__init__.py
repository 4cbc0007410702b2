"""The state of a local cloud: one SQLite file that several processes may use at once."""
