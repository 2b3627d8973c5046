"""PostgreSQL: the server, migrations and every SQL query. The only room that knows psycopg."""
