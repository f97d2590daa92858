"""Scripts to start from; each runs as it stands: ``python -m lra_hgrn.examples.own_mixer``."""
