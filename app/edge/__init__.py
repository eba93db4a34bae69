"""The edge: the layers between the server and the routes, which every request and response passes."""
