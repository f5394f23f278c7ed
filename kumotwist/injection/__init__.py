"""Mail that comes by HTTP: one request, a content with gaps, and a message for each of its recipients."""
