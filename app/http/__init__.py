"""HTTP: the server, the middleware, and what routes share."""
