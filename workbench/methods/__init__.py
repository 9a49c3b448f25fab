"""Pruning methods: short compositions of scores, masks and training, a method a file."""
