"""The Flink job: its configuration, its graph, its entry point."""
