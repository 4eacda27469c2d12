"""Dataset versions and the pipeline, with the `dvc` command."""
