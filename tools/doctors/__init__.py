"""The checks of tools/doctor.py that are of no use to the package."""
