"""Fisher's irises: one classifier in four formats, and one that costs."""
