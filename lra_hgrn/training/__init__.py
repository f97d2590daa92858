"""Training one cell: `lra_hgrn.training.run.train` is the way in."""
