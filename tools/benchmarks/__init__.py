"""The measurements of tools/benchmark.py, a module for each subcommand."""
