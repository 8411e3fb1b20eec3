"""What a function's process needs: configuration, AWS clients, secrets, logs, metrics, time."""
