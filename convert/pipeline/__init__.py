"""The steps of a conversion, from a base to files in the model store."""
