"""The API of Eremetic, for its clients: tasks of tutum/builder that are builds in truth."""
