"""What `dvc repro` runs in a workspace: prepare → finetune → evaluate → gate. Each is `python -m hitl_bridge.stages.NAME`."""
