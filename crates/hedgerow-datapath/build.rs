//! Compiles `bpf/*.bpf.c` with clang-16 into BTF-carrying objects, with `reasons.h` written from
//! [`hedgerow_core::reason::Reason::ALL`].

use std::path::Path;
use std::process::Command;
use std::{env, fs};

use hedgerow_core::reason::Reason;

fn run(command: &mut Command) {
    let status = command.status().unwrap_or_else(|error| {
        panic!("start {command:?}: {error} (Debian packages: clang-16 llvm-16 libbpf-dev)")
    });
    assert!(status.success(), "{command:?} failed: {status}");
}

fn main() {
    println!("cargo::rerun-if-changed=bpf");
    let out = env::var("OUT_DIR").expect("cargo sets OUT_DIR");
    let out = Path::new(&out);
    let header: String = Reason::ALL
        .iter()
        .map(|reason| format!("#define HR_{} {}\n", reason.name().to_uppercase(), *reason as u32))
        .chain([format!("#define HR_REASONS {}\n", Reason::ALL.len())])
        .collect();
    fs::write(out.join("reasons.h"), header).expect("write reasons.h");

    // Debian keeps asm/ headers in the multiarch directory, which -target bpf does not search.
    let multiarch = format!("-I/usr/include/{}-linux-gnu", env::consts::ARCH);
    for name in ["fabric", "node", "bench"] {
        let object = out.join(format!("{name}.bpf.o"));
        run(Command::new("clang-16")
            .args(["-g", "-O2", "-Wall", "-Wextra", "-Werror", "-target", "bpf", "-mcpu=v3"])
            .arg(&multiarch)
            .arg(format!("-I{}", out.display()))
            .args(["-Ibpf", "-c"])
            .arg(format!("bpf/{name}.bpf.c"))
            .arg("-o")
            .arg(&object));
        // Drops DWARF, keeps BTF.
        run(Command::new("llvm-strip-16").arg("-g").arg(&object));
    }
}
