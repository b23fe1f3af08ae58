"""Scoring beside the stream: lanes of requests on one event loop, and pools of worker processes."""
