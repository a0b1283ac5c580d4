//! The truth about catalog, routes and leases.
