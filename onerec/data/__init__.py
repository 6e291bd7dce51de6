"""Data: parquet rows become a token store once, and packs of it reach every rank in one fixed order.

`preparation` makes the store of what `source` reads and `text` renders; `order` decides, and `loading`
delivers, what is trained on. No file here knows a model.
"""
