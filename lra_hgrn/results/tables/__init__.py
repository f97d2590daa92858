"""Tables of a suite: what a table is, two layouts, and its renderers."""
