"""Scoring without Flink: records, models, scorers, the engine. Only two modules here know Flink."""
