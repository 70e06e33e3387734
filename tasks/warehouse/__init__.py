"""The warehouse: everything a person reads comes from here. One protocol, on DuckDB or BigQuery."""
