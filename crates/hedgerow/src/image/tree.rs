//! The files of an image, and the layer made of them.

use std::collections::BTreeMap;
use std::io::Read;

use anyhow::{Context, Result, bail};
use tar::{Builder, EntryType, Header};

/// One entry of an image's file system. Owner and group are always root, times zero.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// A directory with these permission bits.
    Directory(u32),
    /// A file with these permission bits and this content.
    File(u32, Vec<u8>),
    /// A symbolic link to this target.
    Link(String),
}

/// A file system by path, without leading slash. Sorted, so that the layer is always the same.
#[derive(Debug, Default)]
pub struct Tree(BTreeMap<String, Node>);

/// Directories that Debian 12 merged into `/usr`. Its packages still name the old ones.
const MERGED: [&str; 4] = ["bin", "sbin", "lib", "lib64"];

impl Tree {
    /// A tree with Debian's links from `/bin`, `/lib` and so on into `/usr`, and an empty `/tmp`.
    pub fn merged_usr() -> Self {
        let mut tree = Self::default();
        for directory in MERGED {
            tree.put(directory, Node::Link(format!("usr/{directory}")));
            tree.put(&format!("usr/{directory}"), Node::Directory(0o755));
        }
        tree.put("tmp", Node::Directory(0o1777));
        tree
    }

    /// Adds an entry and the directories above it. Replaces what was there.
    pub fn put(&mut self, path: &str, node: Node) {
        let path = path.trim_start_matches('/');
        for (at, _) in path.match_indices('/') {
            self.0.entry(path[..at].to_owned()).or_insert(Node::Directory(0o755));
        }
        self.0.insert(path.to_owned(), node);
    }

    /// The entry at a path without leading slash.
    pub fn get(&self, path: &str) -> Option<&Node> {
        self.0.get(path)
    }

    /// Adds the entries of a package's tar stream that `wanted` says yes to.
    ///
    /// # Errors
    /// When the stream is not a tar, or holds something that is no file, directory or link.
    pub fn unpack(&mut self, stream: impl Read, wanted: impl Fn(&str) -> bool) -> Result<()> {
        let mut archive = tar::Archive::new(stream);
        for entry in archive.entries().context("read tar")? {
            let mut entry = entry.context("read tar entry")?;
            let path =
                entry.path().context("read tar entry's path")?.to_string_lossy().into_owned();
            let path = usr_path(&path);
            if path.is_empty() || !wanted(&path) {
                continue;
            }
            let mode = entry.header().mode().context("read tar entry's mode")?;
            let link = |e: &tar::Entry<_>| -> Result<String> {
                let name = e.link_name()?.with_context(|| format!("{path} links to nothing"))?;
                Ok(name.to_string_lossy().into_owned())
            };
            let node = match entry.header().entry_type() {
                EntryType::Directory => Node::Directory(mode),
                EntryType::Symlink => Node::Link(link(&entry)?),
                EntryType::Link => {
                    let first = usr_path(&link(&entry)?);
                    self.get(&first).with_context(|| format!("{path} links to {first}"))?.clone()
                }
                EntryType::Regular => {
                    let mut content = Vec::new();
                    entry.read_to_end(&mut content).with_context(|| format!("read {path}"))?;
                    Node::File(mode, content)
                }
                other => bail!("{path} is a {other:?}, which images here cannot hold"),
            };
            // Parents come with the first file below them: no empty directories of documentation.
            if !matches!(node, Node::Directory(_)) {
                self.put(&path, node);
            }
        }
        Ok(())
    }

    /// Content of all files below a directory, in order of their paths.
    pub fn files_below<'a>(&'a self, directory: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.0.iter().filter_map(move |(path, node)| match node {
            Node::File(_, content) if path.starts_with(directory) => Some(content.as_slice()),
            _ => None,
        })
    }

    /// Removes everything below a directory, and it.
    pub fn remove_below(&mut self, directory: &str) {
        self.0.retain(|path, _| !path.starts_with(directory));
    }

    /// The tree as an uncompressed layer.
    ///
    /// # Errors
    /// When a name or link does not fit a tar entry.
    pub fn layer(&self) -> Result<Vec<u8>> {
        let mut builder = Builder::new(Vec::new());
        for (path, node) in &self.0 {
            append(&mut builder, path, node).with_context(|| format!("add {path} to the layer"))?;
        }
        builder.into_inner().context("finish the layer")
    }
}

/// A package's path as it is with `/usr` merged: `./lib/x` is `usr/lib/x`.
fn usr_path(path: &str) -> String {
    let path = path.trim_start_matches("./").trim_matches('/');
    let first = path.split('/').next().unwrap_or_default();
    if MERGED.contains(&first) { format!("usr/{path}") } else { path.to_owned() }
}

/// Adds one entry with root as its owner and no time.
pub fn append(builder: &mut Builder<Vec<u8>>, path: &str, node: &Node) -> std::io::Result<()> {
    let mut header = Header::new_gnu();
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(0);
    match node {
        Node::Directory(mode) => {
            header.set_entry_type(EntryType::Directory);
            header.set_mode(*mode);
            builder.append_data(&mut header, format!("{path}/"), std::io::empty())
        }
        Node::Link(target) => {
            header.set_entry_type(EntryType::Symlink);
            header.set_mode(0o777);
            builder.append_link(&mut header, path, target)
        }
        Node::File(mode, content) => {
            header.set_entry_type(EntryType::Regular);
            header.set_mode(*mode);
            header.set_size(content.len() as u64);
            builder.append_data(&mut header, path, content.as_slice())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(path: &str) -> Vec<u8> {
        let mut builder = Builder::new(Vec::new());
        append(&mut builder, path, &Node::File(0o755, b"x".to_vec())).expect("append");
        builder.into_inner().expect("tar")
    }

    #[test]
    fn a_package_of_unmerged_debian_lands_below_usr() {
        let mut tree = Tree::merged_usr();
        tree.unpack(package("lib64/ld.so").as_slice(), |_| true).expect("unpack");
        assert_eq!(tree.get("usr/lib64/ld.so"), Some(&Node::File(0o755, b"x".to_vec())));
        assert_eq!(tree.get("lib64"), Some(&Node::Link("usr/lib64".into())));
    }

    #[test]
    fn unwanted_files_leave_no_directory() {
        let mut tree = Tree::default();
        tree.unpack(package("usr/share/doc/x").as_slice(), |_| false).expect("unpack");
        assert_eq!(tree.get("usr"), None);
    }

    #[test]
    fn the_layer_does_not_depend_on_the_order_of_adding() {
        let (mut one, mut two) = (Tree::default(), Tree::default());
        one.put("a/b", Node::Link("c".into()));
        one.put("z", Node::Directory(0o755));
        two.put("z", Node::Directory(0o755));
        two.put("/a/b", Node::Link("c".into()));
        assert_eq!(one.layer().expect("layer"), two.layer().expect("layer"));
    }
}
