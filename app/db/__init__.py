"""The database: engine, sessions, types of columns, and the rules of SQLite and PostgreSQL."""
