"""Finding assets: folders and corpora are indexed by an aligned encoder, and asked by text, picture or asset."""
