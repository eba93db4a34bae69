"""Generic parts, which know nothing of jobs, files and tenants' data."""
