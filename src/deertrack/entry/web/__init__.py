"""The HTTP interface: JSON over the catalogue, and runs put into the queue."""
