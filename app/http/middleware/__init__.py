"""The middleware: every request and every answer passes it."""
