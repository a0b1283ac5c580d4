//! The manifest: the list of a region's files, as numbered objects.
