//! Deletes files that nobody can need any more.
