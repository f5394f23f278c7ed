"""Where mail comes in: listeners, the ESMTP dialogue as a server, and what a message is told on its way in."""
