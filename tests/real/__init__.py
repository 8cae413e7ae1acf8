"""Third-party programs, fetched by name, doing real work on the machine."""
