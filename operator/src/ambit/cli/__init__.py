"""`ambit`: a subcommand per process, and the commands for people."""
