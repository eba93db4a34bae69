"""The inputs of an encoding: a checkpoint with its layers and data, and how to train."""
