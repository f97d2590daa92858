"""The report of a suite, one HTML page."""
