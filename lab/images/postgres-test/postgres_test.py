"""Connects to a PostgreSQL server once, says what came of it, and stays for `kubectl logs`.

Read from the environment: HOST, PORT (5432), DATABASE (postgres), USER (postgres), PASSWORD,
CONNECT_TIMEOUT (seconds, 3).
"""

import os
import signal
import sys

import psycopg2


def server_version():
    """The server's version string; raises psycopg2.Error when it cannot be had."""
    connection = psycopg2.connect(
        host=os.environ["HOST"],
        port=os.environ.get("PORT", "5432"),
        dbname=os.environ.get("DATABASE", "postgres"),
        user=os.environ.get("USER", "postgres"),
        password=os.environ.get("PASSWORD", ""),
        connect_timeout=int(os.environ.get("CONNECT_TIMEOUT", "3")),
    )
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT version()")
        return cursor.fetchone()[0]


def main():
    """Tries once, prints the result, then waits to be stopped."""
    # As process 1 of its container it has no default action for SIGTERM.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        print(f"Connected. Server version: {server_version()}", flush=True)
    except (psycopg2.Error, KeyError) as error:
        print(f"Database connection failed due to {error}", flush=True)
    while True:
        signal.pause()


main()
