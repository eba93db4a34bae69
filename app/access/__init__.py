"""Who may do what: API keys, the tenants that they speak for, and the limits of each tenant."""
