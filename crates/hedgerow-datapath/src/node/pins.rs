//! Pins on the bpffs. The layout of a pinned map is compared before it is taken up.
//!
//! aya 0.14 takes up a pinned map of any layout, and reading one with larger values would overrun.
//! Changes that keep all sizes are invisible here; for those the layout version is in the path.

use std::ffi::CString;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::{fs, io};

use aya::Ebpf;
use aya::maps::{Map, MapInfo};
use aya_obj::Object;
use aya_obj::maps::PinningType;

use super::{NodeError, Result};

/// Commands of linux/bpf.h.
const BPF_OBJ_GET: libc::c_int = 7;
const BPF_LINK_DETACH: libc::c_int = 34;
#[cfg(target_endian = "big")]
compile_error!("bpf() below lays its attribute out for little-endian machines");
/// `BPF_FS_MAGIC` of linux/magic.h.
const BPF_FS_MAGIC: u32 = 0xcafe_4a11;

/// Makes `directory` under `root`, which must be on a bpffs.
pub(super) fn make_directory(root: &Path, directory: &Path) -> Result<()> {
    let failed = |action, path: &Path| {
        let path = path.to_owned();
        move |source| NodeError::PinDirectory { action, path, source }
    };
    fs::create_dir_all(root).map_err(failed("create", root))?;
    if file_system(root).map_err(failed("look at", root))? != BPF_FS_MAGIC {
        return Err(NodeError::NotBpffs { path: root.to_owned() });
    }
    fs::create_dir_all(directory).map_err(failed("create", directory))
}

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

/// Compares every map pinned in `directory` with the one of the same name in `object`.
pub(super) fn check_pins(object: &[u8], directory: &Path) -> Result<()> {
    for (name, map) in Object::parse(object)?.maps {
        let path = directory.join(&name);
        if map.pinning() != PinningType::ByName || !path.exists() {
            continue;
        }
        let name = "a pinned map";
        let info = MapInfo::from_pin(&path).map_err(|source| NodeError::Map {
            action: "open",
            map: name,
            source,
        })?;
        let kind = info.map_type().map_err(|source| NodeError::Map {
            action: "read the type of",
            map: name,
            source,
        })?;
        for (field, found, expected) in [
            ("type", kind as u32, map.map_type()),
            ("key size", info.key_size(), map.key_size()),
            ("value size", info.value_size(), map.value_size()),
            ("number of entries", info.max_entries(), map.max_entries()),
            ("flags", info.map_flags(), map.map_flags()),
        ] {
            if found != expected {
                return Err(NodeError::Layout { path, field, found, expected });
            }
        }
    }
    Ok(())
}

/// Takes a map out of the loaded object as its typed form.
pub(super) fn take_map<T: TryFrom<Map>>(ebpf: &mut Ebpf, name: &'static str) -> Result<T> {
    let map = ebpf.take_map(name).ok_or(NodeError::Missing(name))?;
    T::try_from(map).map_err(|_| NodeError::Missing(name))
}

/// Detaches the link pinned at `path` and removes the pin; nothing happens where there is none.
/// Removing the pin alone would leave the link to be released some time later.
pub(super) fn end_link(path: &Path) -> io::Result<()> {
    let name = CString::new(path.as_os_str().as_bytes())?;
    let link = match bpf(BPF_OBJ_GET, [name.as_ptr().addr() as u64, 0]) {
        // SAFETY: BPF_OBJ_GET returned a descriptor that nobody else owns.
        Ok(fd) => unsafe { OwnedFd::from_raw_fd(fd) },
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) => {
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    // The interface may be gone, and the link with it; then there is only the pin to remove.
    let _ = bpf(BPF_LINK_DETACH, [link.as_raw_fd() as u64, 0]);
    fs::remove_file(path)
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
