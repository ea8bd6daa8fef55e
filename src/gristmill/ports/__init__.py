"""What the engine and the pipeline need from the outside world; the docstrings are the contract."""
