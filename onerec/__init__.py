"""The trainer: programs that each read one config.json and do one step of a training programme."""
