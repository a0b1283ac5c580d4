//! Reading one region.
