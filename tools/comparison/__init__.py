"""The parts of compare_methods.py: rows, runs, jobs, statistics, page."""
