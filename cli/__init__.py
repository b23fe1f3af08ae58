"""The `modelstream` command."""
