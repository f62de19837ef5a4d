"""What trained runs are worth: clean, attacked, and compared with each other."""
