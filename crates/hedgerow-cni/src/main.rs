//! `hedgerow-cni`: called by the container runtime for every sandbox.

use std::io::{Read, Write};
use std::process::ExitCode;

use hedgerow_cni::plugin;

/// Longest configuration read from stdin, bytes.
const MAX_STDIN: u64 = 1 << 20;

fn main() -> ExitCode {
    let mut stdin = Vec::new();
    // What cannot be read does not parse, and is answered as such.
    let _ = std::io::stdin().take(MAX_STDIN).read_to_end(&mut stdin);
    let outcome = plugin::run(&|key| std::env::var(key).ok(), &stdin);
    if let Some(json) = &outcome.stdout
        && writeln!(std::io::stdout(), "{json}").is_err()
    {
        return ExitCode::FAILURE;
    }
    if outcome.failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
