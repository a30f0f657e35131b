"""Whether a converted file still is the model that was meant."""
