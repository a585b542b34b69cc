"""Solvers for rollouts that are more than one reply."""
