"""Average gradient outer products of callables and of every layer of a torch module."""
