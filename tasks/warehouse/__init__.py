"""The warehouse: everything a person reads comes from here. One protocol; DuckDB is the implementation at hand."""
