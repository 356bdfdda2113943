"""What is told about networks and artifacts: cost tables, budgets, comparisons, timings, and their text and JSON."""
