"""Makes the catalog of films that the package ships: one list out of six open ones."""
