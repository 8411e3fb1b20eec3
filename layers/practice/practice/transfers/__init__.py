"""Taking everything out, and putting it all back."""
