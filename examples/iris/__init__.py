"""Fisher's irises: one classifier in four formats."""
