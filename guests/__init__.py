"""Small programs that run on the machine and check themselves."""
