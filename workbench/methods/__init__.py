"""Compositions of score, mask and train: one timing a file. A run is a function of plain arguments that gives a row."""
