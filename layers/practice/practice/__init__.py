"""The practice API's own package, shared by all functions as a layer."""

import gc

# A full collection in the middle of the imports costs a cold start up to a fifth; `api.py` switches it on again with the
# first call, when everything that lives as long as the process has been frozen.
gc.disable()
