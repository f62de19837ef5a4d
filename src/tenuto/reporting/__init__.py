"""Tables and figures from rows; needs no torch."""
