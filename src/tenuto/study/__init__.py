"""Studies: systems x seeds x protocol on one data set."""
