"""Scripts of the project: tables of results for the docs, and what tests need installed."""
