"""What a suite will cost before it is run: short probes, estimates that are kept, and the plan."""
