"""The command line: one file per group of commands, each only parsing, calling once, and printing."""

EXIT_STOPPED = 130
"""What a shell reports for a command that Ctrl-C ended."""

EXIT_UNFINISHED = 3
"""A study was stopped by its time limit or by SIGTERM, and the same command continues it."""
