"""Receipts as immutable Parquet files: written, found again, counted, read in parts."""
