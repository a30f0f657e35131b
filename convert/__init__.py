"""The offline stage: converting and training models. Needs the extra [convert]."""
