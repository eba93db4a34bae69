"""The edge: what every request passes before it reaches a route, and every answer on its way out."""
