"""The model: Qwen3 made or read, its itemic rows, its attention over documents, its sharding."""
