//! Pins on a bpffs: maps and links that outlive their process.
//!
//! aya 0.14 takes up a pinned map of any layout, and reading one with larger values would overrun:
//! the layout is compared first. Changes that keep all sizes are invisible here; for those a layout
//! version is in the path.

use std::ffi::CString;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::{fs, io};

use aya::maps::{MapError, MapInfo};
use aya::programs::links::{FdLink, LinkError, PinnedLink};
use aya::programs::tc::{SchedClassifierLink, TcError};
use aya::programs::{ProgramError, SchedClassifier};
use aya_obj::Object;

/// Commands of linux/bpf.h.
const BPF_OBJ_GET: libc::c_int = 7;
const BPF_LINK_DETACH: libc::c_int = 34;
#[cfg(target_endian = "big")]
compile_error!("bpf() below lays its attribute out for little-endian machines");
/// `BPF_FS_MAGIC` of linux/magic.h.
const BPF_FS_MAGIC: u32 = 0xcafe_4a11;

/// Why pins cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PinsError {
    /// A file or directory of the pin root could not be made, read or removed.
    #[error("pins: {action} {}: {source}", path.display())]
    Directory {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// Pins can only live on a BPF file system.
    #[error("pins: {} is not on a BPF file system; mount one there (mount -t bpf)", path.display())]
    NotBpffs {
        /// The pin root.
        path: PathBuf,
    },
    /// A pinned map does not have the layout of this build's object.
    #[error(
        "pinned map {}: {field} is {found}, this build has {expected}; \
         it was not made by this layout version, remove it",
        path.display()
    )]
    Layout {
        /// The pin.
        path: PathBuf,
        /// What differs.
        field: &'static str,
        /// As pinned.
        found: u32,
        /// As built.
        expected: u32,
    },
    /// A pinned map could not be opened, pinned or read.
    #[error("{action} pinned map {}: {source}", path.display())]
    Map {
        /// What was tried.
        action: &'static str,
        /// The pin.
        path: PathBuf,
        /// The kernel's answer.
        source: MapError,
    },
    /// A map or link could not be pinned.
    #[error("pin at {}: {source}", path.display())]
    Pin {
        /// The pin.
        path: PathBuf,
        /// The kernel's answer.
        source: aya::pin::PinError,
    },
    /// The object does not parse.
    #[error("parse the eBPF object: {0}")]
    Parse(#[from] aya_obj::ParseError),
}

/// For `map_err`: what was tried on which file.
pub(crate) fn failed(action: &'static str, path: &Path) -> impl Fn(io::Error) -> PinsError {
    let path = path.to_owned();
    move |source| PinsError::Directory { action, path: path.clone(), source }
}

/// Makes `directory` under `root`, which must be on a bpffs.
pub(crate) fn make_directory(root: &Path, directory: &Path) -> Result<(), PinsError> {
    fs::create_dir_all(root).map_err(failed("create", root))?;
    if file_system(root).map_err(failed("look at", root))? != BPF_FS_MAGIC {
        return Err(PinsError::NotBpffs { path: root.to_owned() });
    }
    fs::create_dir_all(directory).map_err(failed("create", directory))
}

/// The magic number of the file system that `path` is on.
fn file_system(path: &Path) -> io::Result<u32> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut buffer = std::mem::MaybeUninit::<libc::statfs>::uninit();
    // SAFETY: a nul-terminated path and a buffer of the right type, both alive through the call.
    if unsafe { libc::statfs(path.as_ptr(), buffer.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: statfs succeeded, so it filled the buffer.
    Ok(unsafe { buffer.assume_init() }.f_type as u32)
}

/// Names of what is in `directory`.
pub(crate) fn list(directory: &Path) -> Result<Vec<String>, PinsError> {
    let entries = fs::read_dir(directory).map_err(failed("list", directory))?;
    let names = entries.map(|entry| entry.map(|entry| entry.file_name().into_string().ok()));
    let names: io::Result<Vec<_>> = names.collect();
    Ok(names.map_err(failed("list", directory))?.into_iter().flatten().collect())
}

/// Compares every map pinned in `directory` with the one of the same name in `object`, if `wanted`
/// says so.
pub(crate) fn check(
    object: &[u8],
    directory: &Path,
    wanted: impl Fn(&str, &aya_obj::Map) -> bool,
) -> Result<(), PinsError> {
    for (name, map) in Object::parse(object)?.maps {
        let path = directory.join(&name);
        if !wanted(&name, &map) || !path.exists() {
            continue;
        }
        let failed = |action| {
            let path = path.clone();
            move |source| PinsError::Map { action, path, source }
        };
        let info = MapInfo::from_pin(&path).map_err(failed("open"))?;
        let kind = info.map_type().map_err(failed("read the type of"))?;
        for (field, found, expected) in [
            ("type", kind as u32, map.map_type()),
            ("key size", info.key_size(), map.key_size()),
            ("value size", info.value_size(), map.value_size()),
            ("number of entries", info.max_entries(), map.max_entries()),
            ("flags", info.map_flags(), map.map_flags()),
        ] {
            if found != expected {
                return Err(PinsError::Layout { path, field, found, expected });
            }
        }
    }
    Ok(())
}

/// Puts the program into the pinned link by BPF_LINK_UPDATE, so that no packet is lost; `false`
/// where there is none, or one whose interface is gone (ENOLINK).
pub(crate) fn replace_link(
    program: &mut SchedClassifier,
    path: &Path,
) -> Result<bool, ProgramError> {
    let pinned = match PinnedLink::from_pin(path) {
        Ok(pinned) => pinned,
        Err(LinkError::SyscallError(error)) if error.io_error.kind() == io::ErrorKind::NotFound => {
            return Ok(false);
        }
        Err(LinkError::SyscallError(error)) => return Err(error.into()),
        Err(_) => return Ok(false),
    };
    let Ok(link) = SchedClassifierLink::try_from(FdLink::from(pinned)) else { return Ok(false) };
    match program.attach_to_link(link) {
        // Dropping what take_link returns closes a descriptor; the pin keeps the link.
        Ok(id) => program.take_link(id).map(|_| true),
        Err(error) if os_error(&error) == Some(libc::ENOLINK) => Ok(false),
        Err(error) => Err(error),
    }
}

/// The errno behind an error, if there is one.
pub(crate) fn os_error(error: &ProgramError) -> Option<i32> {
    match error {
        ProgramError::SyscallError(error) => error.io_error.raw_os_error(),
        ProgramError::NetlinkError(error) | ProgramError::TcError(TcError::NetlinkError(error)) => {
            error.raw_os_error()
        }
        _ => None,
    }
}

/// Detaches the link pinned at `path` and removes the pin; nothing happens where there is none.
/// Removing the pin alone would leave the link to be released some time later.
pub(crate) fn end_link(path: &Path) -> Result<(), PinsError> {
    let failed = failed("detach the link at", path);
    let name = CString::new(path.as_os_str().as_bytes()).map_err(|e| failed(e.into()))?;
    let link = match bpf(BPF_OBJ_GET, [name.as_ptr().addr() as u64, 0]) {
        // SAFETY: BPF_OBJ_GET returned a descriptor that nobody else owns.
        Ok(fd) => unsafe { OwnedFd::from_raw_fd(fd) },
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) => {
            return Ok(());
        }
        Err(error) => return Err(failed(error)),
    };
    // The interface may be gone, and the link with it; then there is only the pin to remove.
    let _ = bpf(BPF_LINK_DETACH, [link.as_raw_fd() as u64, 0]);
    fs::remove_file(path).map_err(failed)
}

/// bpf(2) with the first 16 bytes of its attribute union; little-endian, as the targets are.
fn bpf(command: libc::c_int, attribute: [u64; 2]) -> io::Result<i32> {
    // SAFETY: the attribute is alive through the call and its size is given; a path in it is a
    // nul-terminated string that the caller keeps alive.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, command, attribute.as_ptr(), size_of_val(&attribute))
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as i32) }
}
