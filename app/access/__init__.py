"""Access control: API keys, their tenants, and the limits of each tenant."""
