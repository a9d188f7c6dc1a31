//! Attaching: tcx with pinned links on uplinks, clsact on pods' veths.
//!
//! Both can be repeated by a new agent and replace the programs without losing a packet: a pinned
//! link by BPF_LINK_UPDATE, a filter by its fixed priority and handle. tcx costs 12 to 15 ms a
//! direction, clsact 0.3 ms in all, which is why pods, on the path of CNI ADD, have clsact.
//!
//! Interfaces are those of the calling thread's network namespace.

use std::ffi::CString;
use std::io;
use std::path::{Path, PathBuf};

use aya::Ebpf;
use aya::programs::links::FdLink;
use aya::programs::tc::{
    NlOptions, SchedClassifierLink, SchedClassifierLinkId, TcAttachOptions, TcError, TcHandle,
    qdisc_add_clsact,
};
use aya::programs::{LinkOrder, ProgramError, SchedClassifier, TcAttachType};

use super::{NodeError, Result};
use crate::pins;

/// Priority of the filters on pods' veths.
const PRIORITY: u16 = 1;
/// Their handle.
const HANDLE: TcHandle = TcHandle::new(0, 1);

/// Where a program stands: its name in the object, and the direction it is for.
type Hook = (&'static str, TcAttachType, &'static str);

const UPLINK: [Hook; 2] =
    [("from_wire", TcAttachType::Ingress, "ingress"), ("to_wire", TcAttachType::Egress, "egress")];
const POD: [Hook; 2] =
    [("to_pod", TcAttachType::Egress, "egress"), ("from_pod", TcAttachType::Ingress, "ingress")];

/// Loads the four programs.
pub(super) fn load_programs(ebpf: &mut Ebpf) -> Result<()> {
    for (name, ..) in UPLINK.iter().chain(&POD) {
        program(ebpf, name)?
            .load()
            .map_err(|source| NodeError::Program { program: name, source })?;
    }
    Ok(())
}

fn program<'a>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut SchedClassifier> {
    let program = ebpf.program_mut(name).ok_or(NodeError::Missing(name))?;
    program.try_into().map_err(|_| NodeError::Missing(name))
}

fn ifindex(name: &str) -> io::Result<u32> {
    let name = CString::new(name)?;
    // SAFETY: a nul-terminated name, alive through the call.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => Err(io::Error::last_os_error()),
        index => Ok(index),
    }
}

fn interface_exists(index: u32) -> bool {
    let mut name = [0; libc::IF_NAMESIZE];
    // SAFETY: the buffer has the size the call demands.
    !unsafe { libc::if_indextoname(index, name.as_mut_ptr()) }.is_null()
}

/// The pin of an uplink's link. The index names the interface, whatever it is called later.
fn pin_path(links: &Path, index: u32, direction: &str) -> PathBuf {
    links.join(format!("{index}-{direction}"))
}

/// Removes the pins of links whose interface is gone.
pub(super) fn sweep_links(links: &Path) -> Result<()> {
    for name in pins::list(links)? {
        let index = name.split_once('-').and_then(|(index, _)| index.parse().ok());
        if index.is_some_and(|index| !interface_exists(index)) {
            pins::end_link(&links.join(name))?;
        }
    }
    Ok(())
}

/// Attaches to an uplink, or replaces what is pinned.
pub(super) fn attach_uplink(ebpf: &mut Ebpf, links: &Path, interface: &str) -> Result<()> {
    let index = ifindex(interface)
        .map_err(|source| NodeError::Interface { name: interface.to_owned(), source })?;
    for (name, hook, direction) in UPLINK {
        let path = pin_path(links, index, direction);
        let program = program(ebpf, name)?;
        let failed =
            |source| NodeError::Attach { program: name, interface: interface.to_owned(), source };
        if pins::replace_link(program, &path).map_err(failed)? {
            remove_older(links, &path)?;
            continue;
        }
        pins::end_link(&path)?;
        let id = program
            .attach_with_options(interface, hook, TcAttachOptions::TcxOrder(LinkOrder::default()))
            .map_err(failed)?;
        let link = program.take_link(id).map_err(failed)?;
        FdLink::try_from(link)
            .map_err(|_| NodeError::Missing(name))?
            .pin(&path)
            .map_err(|source| NodeError::PinLink { program: name, path: path.clone(), source })?;
        remove_older(links, &path)?;
    }
    Ok(())
}

/// Ends the link that an agent of another layout has in `pin`'s place. It comes first on the hook
/// and decides alone until it goes, so the change-over loses nothing.
fn remove_older(links: &Path, pin: &Path) -> Result<()> {
    let (Some(root), Some(file)) = (links.ancestors().nth(2), pin.file_name()) else {
        return Ok(());
    };
    for version in pins::list(root)? {
        let other = root.join(version).join("links").join(file);
        if other != pin {
            pins::end_link(&other)?;
        }
    }
    Ok(())
}

/// Detaches from an uplink.
pub(super) fn detach_uplink(links: &Path, interface: &str) -> Result<()> {
    let Ok(index) = ifindex(interface) else { return sweep_links(links) };
    for (.., direction) in UPLINK {
        pins::end_link(&pin_path(links, index, direction))?;
    }
    Ok(())
}

/// Attaches to the host side of a pod's veth pair, or replaces the filters there. Egress first: a
/// pod that can send can also be answered.
pub(super) fn attach_pod(ebpf: &mut Ebpf, interface: &str) -> Result<()> {
    match qdisc_add_clsact(interface) {
        Ok(()) => {}
        Err(TcError::NetlinkError(error)) if error.raw_os_error() == Some(libc::EEXIST) => {}
        Err(source) => return Err(NodeError::Qdisc { interface: interface.to_owned(), source }),
    }
    for (name, hook, _) in POD {
        let program = program(ebpf, name)?;
        let id = attach_filter(program, interface, hook).and_then(|id| program.take_link(id));
        let link = id.map_err(|source| NodeError::Attach {
            program: name,
            interface: interface.to_owned(),
            source,
        })?;
        // Its drop would detach; the filter lives and dies with the veth.
        std::mem::forget(link);
    }
    Ok(())
}

fn attach_filter(
    program: &mut SchedClassifier,
    interface: &str,
    hook: TcAttachType,
) -> Result<SchedClassifierLinkId, ProgramError> {
    let options = NlOptions { priority: PRIORITY, handle: HANDLE, classid: None };
    match program.attach_with_options(interface, hook, TcAttachOptions::Netlink(options)) {
        Err(error) if pins::os_error(&error) == Some(libc::EEXIST) => {
            let present = SchedClassifierLink::attached(interface, hook, PRIORITY, HANDLE, None)
                .map_err(TcError::IoError)?;
            program.attach_to_link(present)
        }
        other => other,
    }
}
