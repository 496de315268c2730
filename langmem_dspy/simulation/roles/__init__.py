"""The parts the simulated model can play, one a module."""
