"""Slurm as a launcher: a job that is submitted, runs the runner, and is queued again until all is done."""
