"""The HTTP edge: from an API Gateway event to a response, and nothing of the domain."""
