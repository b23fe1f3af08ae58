"""The demo: six models, one stream, a model that changes in mid-stream, and what goes wrong on purpose."""
