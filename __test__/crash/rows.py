"""Prints what `integrity_check` says of a queue file, and its rows, a line of JSON each."""

import json
import sqlite3
import sys

connection = sqlite3.connect(sys.argv[1], timeout=5)
print(json.dumps(connection.execute("PRAGMA integrity_check").fetchone()[0]))
COLUMNS = "message_id, type, payload, timestamp, processed"
for row in connection.execute(f"SELECT {COLUMNS} FROM message_queue ORDER BY rowid"):
    print(json.dumps(row))
connection.close()
