"""A file of users in, a row of recommendations for each of them out."""
