"""Where rows come from: file systems, parquet files, the field rules."""
