"""Models of an MLflow server as input, and its runs and model versions as output.

`references` parses MLflow's names, and `checkpoint_files` finds the checkpoint among a model's files. Both only need
the standard library; the service uses them too. The other modules need the extra `mlflow`.
"""
