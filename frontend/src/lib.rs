//! Speaking, planning, routing; stateless.
