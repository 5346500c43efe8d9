"""How many does it take: a queueing model of a server, fitted to the records of a run."""
