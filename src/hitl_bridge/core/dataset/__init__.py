"""The dataset of decisions: what a record holds, how versions fold into what holds now, and how splits stay apart.

A dataset version is two Parquet files: `data/decisions/vX.Y.Z.parquet` (the decisions that are new or changed) and
`data/payloads/vX.Y.Z.parquet` (the inputs and rationales of the same items, apart so that they can be erased).
"""
