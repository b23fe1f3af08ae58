"""Kafka, files and micro-batches: what joins the graph to the world."""
