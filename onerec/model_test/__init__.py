"""The model test: is a Hugging Face folder whole, does its model run, and what does it say.

`program.py` runs the checks; each file of checks lists its own, in the order in which they are made. The
folder under test is only read.
"""
