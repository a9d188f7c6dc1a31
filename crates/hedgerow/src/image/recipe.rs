//! What goes into each image.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::archive::Config;
use super::debian;
use super::tree::{Node, Tree};

/// One image.
#[derive(Debug)]
pub struct Recipe {
    /// Name of the archive, without `.tar`.
    pub name: &'static str,
    /// Folder of the archive below the others; empty for the images that every node gets. Those
    /// of the demo are loaded by it: a node's start pays for every image.
    pub folder: &'static str,
    /// The image's name in a cluster.
    pub tag: &'static str,
    /// What it runs.
    pub config: Config,
    base: &'static [&'static str],
    parts: Vec<Part>,
}

/// Something in an image besides the base packages. The path inside the image comes last.
#[derive(Debug)]
enum Part {
    /// A program from this machine, stripped of symbols.
    Program(PathBuf, &'static str),
    /// Text from the source tree.
    Text(&'static str, u32, &'static str),
    /// A C source, compiled into a static program.
    C(&'static str, &'static str),
    /// A symbolic link to this target.
    Link(&'static str, &'static str),
    /// The certificates of the package `ca-certificates` as one file; its script does so on
    /// Debian. Only AWS needs them, an embedded VPC speaks plain HTTP.
    Certificates(&'static str),
}

/// Enough for a dynamically linked Rust program.
const RUST_BASE: &[&str] = &["libc6", "libgcc-s1", "ca-certificates"];

/// Python 3, psycopg2, and every library below them (`ldd`, closed).
const POSTGRES_TEST_BASE: &[&str] = &[
    "libc6",
    "libgcc-s1",
    "python3.11-minimal",
    "libpython3.11-minimal",
    "libpython3.11-stdlib",
    "zlib1g",
    "libexpat1",
    "python3-psycopg2",
    "libpq5",
    "libssl3",
    "libgssapi-krb5-2",
    "libkrb5-3",
    "libk5crypto3",
    "libkrb5support0",
    "libcom-err2",
    "libkeyutils1",
    "libldap-2.5-0",
    "libsasl2-2",
    "libgnutls30",
    "libp11-kit0",
    "libidn2-0",
    "libunistring2",
    "libtasn1-6",
    "libnettle8",
    "libhogweed6",
    "libgmp10",
    "libffi8",
];

/// Root and nobody, for programs that ask who they are.
const PASSWD: &str = "root:x:0:0:root:/:/sbin/nologin\n\
                      nobody:x:65534:65534:nobody:/:/sbin/nologin\n";

/// The lab's images, with programs from these two directories.
pub fn all(bin_dir: &Path, kubernetes: &Path) -> Vec<Recipe> {
    vec![pause(), coredns(kubernetes), aws_node(bin_dir), controller(bin_dir), postgres_test()]
}

fn pause() -> Recipe {
    Recipe {
        name: "pause",
        folder: "",
        tag: "registry.k8s.io/pause:3.10.1",
        config: Config { entrypoint: &["/pause"], env: &[] },
        base: &[],
        parts: vec![Part::C(include_str!("../../../../lab/images/pause.c"), "pause")],
    }
}

fn coredns(kubernetes: &Path) -> Recipe {
    Recipe {
        name: "coredns",
        folder: "",
        tag: "registry.k8s.io/coredns/coredns:v1.14.7",
        config: Config { entrypoint: &["/coredns"], env: &[] },
        base: &[],
        parts: vec![Part::Program(kubernetes.join("coredns"), "coredns")],
    }
}

/// The node's image: the agent, and the plugin that its init container puts on the node.
fn aws_node(bin_dir: &Path) -> Recipe {
    Recipe {
        name: "aws-node",
        folder: "",
        tag: "hedgerow/aws-node:0.1.0",
        config: Config { entrypoint: &["/usr/bin/hedgerow-agent"], env: &[PATH] },
        base: RUST_BASE,
        parts: vec![
            Part::Program(bin_dir.join("hedgerow-agent"), "usr/bin/hedgerow-agent"),
            Part::Program(bin_dir.join("hedgerow-cni"), "usr/bin/hedgerow-cni"),
            Part::Text(PASSWD, 0o644, "etc/passwd"),
            Part::Certificates("etc/ssl/certs/ca-certificates.crt"),
        ],
    }
}

fn controller(bin_dir: &Path) -> Recipe {
    Recipe {
        name: "controller",
        folder: "",
        tag: "hedgerow/controller:0.1.0",
        config: Config { entrypoint: &["/usr/bin/hedgerow-controller"], env: &[PATH] },
        base: RUST_BASE,
        parts: vec![
            Part::Program(bin_dir.join("hedgerow-controller"), "usr/bin/hedgerow-controller"),
            Part::Text(PASSWD, 0o644, "etc/passwd"),
            Part::Certificates("etc/ssl/certs/ca-certificates.crt"),
        ],
    }
}

fn postgres_test() -> Recipe {
    let script = include_str!("../../../../lab/images/postgres-test/postgres_test.py");
    Recipe {
        name: "postgres-test",
        folder: "demo",
        tag: "hedgerow/postgres-test:0.1.0",
        config: Config { entrypoint: &["/usr/bin/python3", "/postgres_test.py"], env: &[PATH] },
        base: POSTGRES_TEST_BASE,
        parts: vec![
            Part::Link("python3.11", "usr/bin/python3"),
            Part::Text(script, 0o644, "postgres_test.py"),
            Part::Text(PASSWD, 0o644, "etc/passwd"),
        ],
    }
}

const PATH: &str = "PATH=/usr/sbin:/usr/bin";

impl Recipe {
    /// A text that changes when an input does.
    ///
    /// # Errors
    /// When a program that goes into the image does not exist.
    pub fn inputs(&self) -> Result<String> {
        let mut text = format!("{self:?}\n");
        for part in &self.parts {
            if let Part::Program(from, _) = part {
                let meta = std::fs::metadata(from).with_context(|| {
                    format!("{} is not built; run `make setup`", from.display())
                })?;
                let time = meta.modified().with_context(|| format!("stat {}", from.display()))?;
                writeln!(text, "{} {} {time:?}", from.display(), meta.len())?;
            }
        }
        Ok(text)
    }

    /// The image's files.
    ///
    /// # Errors
    /// When a package, program or compiler fails.
    pub fn tree(&self, cache: &Path) -> Result<Tree> {
        let mut tree = if self.base.is_empty() { Tree::default() } else { Tree::merged_usr() };
        debian::add_packages(&mut tree, self.base, cache)?;
        for part in &self.parts {
            part.add(&mut tree)?;
        }
        Ok(tree)
    }
}

impl Part {
    fn add(&self, tree: &mut Tree) -> Result<()> {
        match self {
            Self::Program(from, to) => tree.put(to, Node::File(0o755, stripped(from)?)),
            Self::Text(text, mode, to) => tree.put(to, Node::File(*mode, text.as_bytes().to_vec())),
            Self::C(source, to) => tree.put(to, Node::File(0o755, compiled(source)?)),
            Self::Link(target, to) => tree.put(to, Node::Link((*target).to_owned())),
            Self::Certificates(to) => {
                let source = "usr/share/ca-certificates/";
                let bundle = tree.files_below(source).collect::<Vec<_>>().concat();
                if bundle.is_empty() {
                    bail!("no certificate below {source} of package ca-certificates");
                }
                tree.remove_below(source);
                tree.put(to, Node::File(0o644, bundle));
            }
        }
        Ok(())
    }
}

/// A program without its symbols: they are most of a debug build.
fn stripped(from: &Path) -> Result<Vec<u8>> {
    through_file(|out| {
        let mut command = Command::new("llvm-strip-16");
        command.arg("-o").arg(out).arg(from);
        command
    })
    .with_context(|| format!("strip {}", from.display()))
}

/// A static program from a C source.
fn compiled(source: &str) -> Result<Vec<u8>> {
    let mut file = tempfile::Builder::new().suffix(".c").tempfile().context("temporary file")?;
    std::io::Write::write_all(&mut file, source.as_bytes()).context("write C source")?;
    through_file(|out| {
        let mut command = Command::new("clang-16");
        command.args(["-Os", "-static", "-s", "-Wall", "-Werror", "-o"]).arg(out).arg(file.path());
        command
    })
    .context("compile C source")
}

/// Runs a command that writes a file, and returns that file's content.
fn through_file(command: impl FnOnce(&Path) -> Command) -> Result<Vec<u8>> {
    let directory = tempfile::tempdir().context("temporary directory")?;
    let out = directory.path().join("out");
    let mut command = command(&out);
    let output = command.output().with_context(|| format!("run {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    std::fs::read(&out).with_context(|| format!("read {}", out.display()))
}
