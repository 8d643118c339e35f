"""Benchmarks: `python -m bench` runs them all and writes bench/out/results.json. Needs root, and an idle machine."""
