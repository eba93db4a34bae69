"""Curvature of a network's outputs by its weights, estimated layer by layer from inputs."""
