"""Autotuning: which tiles are fastest, found by building and measuring candidates."""
