"""Models and events to try modelstream with."""
