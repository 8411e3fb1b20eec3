"""What queues, the stream of the table and the event bus start."""
