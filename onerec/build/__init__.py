"""Raw interactions and item texts become semantic ids and parquet rows."""
