"""torchvision's detection networks: their inputs, the outputs that are compared, and the agreement of their boxes."""
