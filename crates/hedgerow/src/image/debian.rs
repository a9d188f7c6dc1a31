//! Files from Debian packages: fetched once with `apt-get download`, read with `dpkg-deb`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::tree::Tree;

/// Paths (as prefixes) that no image needs.
const UNWANTED: [&str; 8] = [
    "usr/share/doc",
    "usr/share/man",
    "usr/share/locale",
    "usr/share/lintian",
    "usr/share/bug",
    "usr/share/apport",
    "usr/lib/x86_64-linux-gnu/gconv",
    "usr/share/binfmts",
];

/// Adds the files of these packages to an image.
///
/// Packages in the directory `debs` of the cache are used as they are; remove it to get newer ones.
///
/// # Errors
/// When a package cannot be fetched or read.
pub fn add_packages(tree: &mut Tree, packages: &[&str], cache: &Path) -> Result<()> {
    let directory = cache.join("debs");
    fetch_missing(packages, &directory)?;
    for package in packages {
        let file = find(package, &directory)?
            .with_context(|| format!("no package {package} in {}", directory.display()))?;
        unpack(tree, &file).with_context(|| format!("unpack {}", file.display()))?;
    }
    Ok(())
}

/// Fetches the packages that the directory does not hold, all with one call: each costs 0.7 s.
fn fetch_missing(packages: &[&str], directory: &Path) -> Result<()> {
    std::fs::create_dir_all(directory)
        .with_context(|| format!("create {}", directory.display()))?;
    let mut arguments = vec!["download", "-qq"];
    for package in packages {
        if find(package, directory)?.is_none() {
            arguments.push(package);
        }
    }
    if arguments.len() == 2 || run_apt(&arguments, directory)?.is_none() {
        return Ok(());
    }
    // The lists may be missing on a fresh machine, or older than the mirror.
    run_apt(&["update", "-qq"], directory)?;
    match run_apt(&arguments, directory)? {
        None => Ok(()),
        Some(error) => bail!("apt-get {} failed: {error}", arguments.join(" ")),
    }
}

fn find(package: &str, directory: &Path) -> Result<Option<PathBuf>> {
    let listing =
        std::fs::read_dir(directory).with_context(|| format!("list {}", directory.display()))?;
    for entry in listing {
        let path = entry.with_context(|| format!("list {}", directory.display()))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with(&format!("{package}_")) && name.ends_with(".deb") {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// Runs apt-get; the error text if it failed.
fn run_apt(arguments: &[&str], directory: &Path) -> Result<Option<String>> {
    // Run as root: apt's own user may not enter the cache directory.
    let output = Command::new("apt-get")
        .args(["-o", "APT::Sandbox::User=root"])
        .args(arguments)
        .current_dir(directory)
        .output()
        .context("run apt-get")?;
    let failed = !output.status.success();
    Ok(failed.then(|| String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}

fn unpack(tree: &mut Tree, file: &Path) -> Result<()> {
    let mut child = Command::new("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(file)
        .stdout(Stdio::piped())
        .spawn()
        .context("run dpkg-deb")?;
    let stream = child.stdout.take().context("read dpkg-deb's output")?;
    let mut stream = std::io::BufReader::with_capacity(1 << 20, stream);
    tree.unpack(&mut stream, wanted)?;
    // A tar reader stops at the end mark; dpkg-deb must be allowed to write its padding.
    std::io::copy(&mut stream, &mut std::io::sink()).context("read dpkg-deb's output")?;
    let status = child.wait().context("wait for dpkg-deb")?;
    if !status.success() {
        bail!("dpkg-deb ended with {status}");
    }
    Ok(())
}

fn wanted(path: &str) -> bool {
    !UNWANTED.iter().any(|prefix| path.starts_with(prefix)) && !path.ends_with(".a")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documentation_is_left_out_and_libraries_are_not() {
        assert!(!wanted("usr/share/doc/libc6/copyright"));
        assert!(wanted("usr/lib/x86_64-linux-gnu/libc.so.6"));
    }
}
