"""Who calls: the session that a request proves itself for, by what means depends on the listener."""
