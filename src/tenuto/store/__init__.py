"""What lies on disk: rows, runs, studies, and released logs. No other room knows their file names."""
