"""Search for hyper-parameters: `lra_hgrn.tuning.search.tune` is the way in."""
