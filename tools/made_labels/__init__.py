"""What tools/create_data.py occupancy is scored with."""
