//! Fuzz targets: everything here that reads bytes of strangers, under libFuzzer, each with an
//! invariant beyond "it does not panic".
//!
//! One program for all, so that it is linked once: `FUZZ_TARGET` says which. `scripts/fuzz` builds it
//! with coverage counters and runs each target over its corpus in `fuzz/corpus`.
#![no_main]

mod dns;
mod frames;
mod iam;
mod imds;
mod journal;
mod query;
mod vpc;
mod xml;

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;

static TARGET: OnceLock<fn(&[u8])> = OnceLock::new();

fn target() -> fn(&[u8]) {
    let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
    match name.as_str() {
        "query" => query::run,
        "xml" => xml::run,
        "frames" => frames::run,
        "dns" => dns::run,
        "imds" => imds::run,
        "iam" => iam::run,
        "journal" => journal::run,
        other => {
            panic!("FUZZ_TARGET={other} is none of query, xml, frames, dns, imds, iam, journal")
        }
    }
}

fuzz_target!(|bytes: &[u8]| TARGET.get_or_init(target)(bytes));
