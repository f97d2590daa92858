"""Sweeps: the missing cells of a suite, each in a process of its own, here or on other machines.

`sweep` decides what runs, takes what comes back and shows it; a launcher (`local`, `on_ray`, `on_slurm`) finds a place
for the cells. Each of them starts a cell by `process.start`, so that a cell cannot tell who started it.
"""
