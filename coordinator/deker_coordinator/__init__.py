"""Services of a whole cluster: opening it, its membership, and what it has to sweep up."""
