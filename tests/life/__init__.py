"""A cluster that loses a node, gets another, and gives one up, while it is used."""
