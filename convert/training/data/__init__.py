"""From a data set to the tensors of a training step."""
