"""`lra check`: did a change make a model worse, slower or larger? Each part is measured beside what it is judged by."""
