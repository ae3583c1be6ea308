"""What plain runs teach: recorded, measured, tried out, and kept in files."""
