"""Turns: a prompt is composed for each model, the models are asked at the same time, every answer is kept."""
