"""Jobs: the rows that are the only truth about them, and everything that changes a row."""
