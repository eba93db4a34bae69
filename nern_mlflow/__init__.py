"""Models of an MLflow server as input, and its runs and model versions as output.

`references` and `checkpoint_files` say what MLflow's names mean and which file of a model is a checkpoint; they need
nothing but the standard library, and the service uses them too. The other modules need the extra `mlflow`.
"""
