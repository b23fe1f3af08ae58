"""Hours of restarts: a job that is killed over and over, and whether each event had one right outcome."""
