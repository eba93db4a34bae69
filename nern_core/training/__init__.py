"""Training a predictor, phase by phase: reconstruction, refinement, distillation."""
