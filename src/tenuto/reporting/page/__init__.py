"""A study on one HTML page."""
