"""`lra bench`: speed, each figure beside what it has to be compared with, measured in one run."""
