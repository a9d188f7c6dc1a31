//! Cases that once differed, by name.
