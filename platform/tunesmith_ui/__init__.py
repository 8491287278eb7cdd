"""The web studio: a client of the REST API through `tunesmith.Client`, nothing else. Its pages come with the studio."""
