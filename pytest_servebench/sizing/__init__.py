"""How many servers a load needs: a queueing model of a server, fitted to the records of a run."""
