//! Hosts regions and runs fragments.
