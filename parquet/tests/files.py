"""The rows of all Parquet files of a directory, as DuckDB reads them: one JSON array a line, in order."""

import json
import sys

import duckdb

rows = duckdb.sql(
    f"""select number, half, epoch_ms("at"), share from read_parquet('{sys.argv[1]}/*.parquet') order by number"""
)
for row in rows.fetchall():
    print(json.dumps(row))
