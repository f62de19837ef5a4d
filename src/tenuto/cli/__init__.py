"""The command line: one file per group of commands, each only parsing, calling once, and printing."""
