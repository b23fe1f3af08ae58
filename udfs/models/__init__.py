"""What to serve, getting it, and keeping it loaded."""
