"""Choose a model by flags and ask it, on this machine or on a server, for answers."""
