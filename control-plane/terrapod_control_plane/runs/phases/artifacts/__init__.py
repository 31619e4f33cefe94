"""What goes between agents and blobs for the phases that they hold."""
