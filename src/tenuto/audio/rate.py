"""The rate of waveforms, in a file of its own: it needs no other module."""

SAMPLE_RATE = 22_050
"""Samples per second of every waveform, unless a model takes another rate."""
