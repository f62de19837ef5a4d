"""Numbers from rows: selection, statistics, comparison, curves, and the tables of the paper. Needs no torch."""
