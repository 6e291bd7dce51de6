"""Data: parquet rows become a token store once, and packs of it reach every rank in one fixed order.

`prepare` reads, validates, renders and tokenises; `load` only reads what `prepare` left. No file here knows a
model.
"""
