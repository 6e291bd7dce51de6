"""A small model asked for items without torch or transformers: these take longer to load than it to answer.

`model` opens a folder and tells where it cannot be one of these; the rest is its parts. fp32 on the CPU.
"""
