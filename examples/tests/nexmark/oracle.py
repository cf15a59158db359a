"""What the queries of Nexmark give over a dump, by DuckDB.

    oracle.py DUMP DIRECTORY

Runs every q*.sql beside this file over the events of DUMP, and writes the rows of each to DIRECTORY/q*.jsonl, one JSON
object a line, times in milliseconds since 1970. It knows nothing of Highwater.
"""

import datetime
import decimal
import json
import pathlib
import sys

import duckdb

EPOCH = datetime.datetime(1970, 1, 1)
MILLISECOND = datetime.timedelta(milliseconds=1)


def plain(value):
    """A value as JSON has it."""
    if isinstance(value, datetime.datetime):
        return (value - EPOCH) // MILLISECOND
    if isinstance(value, decimal.Decimal):
        return float(value)
    return value


def main(dump, directory):
    here = pathlib.Path(__file__).parent
    database = duckdb.connect(config={"threads": 2})
    database.execute("SET TimeZone = 'UTC'")
    database.execute("SET VARIABLE dump = ?", [dump])
    database.execute((here / "tables.sql").read_text())
    for query in sorted(here.glob("q*.sql")):
        result = database.execute(query.read_text())
        columns = [column[0] for column in result.description]
        with (pathlib.Path(directory) / query.with_suffix(".jsonl").name).open("w") as lines:
            for row in result.fetchall():
                lines.write(json.dumps(dict(zip(columns, map(plain, row))), ensure_ascii=False) + "\n")


main(*sys.argv[1:])
