"""The practice API's own package, shared by all functions as a layer."""

import gc

# A full garbage collection during the imports costs up to a fifth of a cold start. `http/endpoint.py` enables collection
# on the first call, after freezing what exists.
gc.disable()
