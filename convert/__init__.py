"""The offline stage: everything that makes models. Needs the extra [convert]."""
