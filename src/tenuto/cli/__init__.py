"""The command line: one file per group of commands, each only parsing, calling once, and printing."""

EXIT_STOPPED = 130
"""What a shell reports for a command that Ctrl-C ended."""
