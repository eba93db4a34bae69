"""Training a predictor, phase by phase: reconstruction, then distillation."""
