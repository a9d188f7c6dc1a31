//! Weather and access over HTTP, in records-only mode: what a client meets.

mod access;
mod client;
mod shipped;
mod weather;
