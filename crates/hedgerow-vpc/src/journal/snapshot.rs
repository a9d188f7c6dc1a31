//! A snapshot file: one line of JSON that says what it is, the records as JSON, a line with the
//! checksum of both.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::mirror::Mirror;
use crate::state::State;

/// Version of the format.
const FORMAT: u32 = 2;

/// What stands in the first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Header {
    format: u32,
    /// Version of the program that wrote it.
    program: String,
}

/// All there is to know at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Number of the first entry that is not in it.
    pub next: u64,
    /// Instant of the last entry, seconds since 1970.
    pub instant: u64,
    /// Whether there is no machine behind the records.
    pub records_only: bool,
    /// The records.
    pub state: State,
    /// What the machine was asked to be.
    pub mirror: Mirror,
}

/// Why a snapshot cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The file cannot be read.
    #[error(transparent)]
    Read(#[from] io::Error),
    /// Bytes were changed or are missing.
    #[error("it is damaged: its checksum does not fit")]
    Damaged,
    /// Written by another version of the program.
    #[error(
        "program {program} wrote it in format {format}, and this program reads format {FORMAT}"
    )]
    Format {
        /// Format of the file.
        format: u32,
        /// Version of the program.
        program: String,
    },
    /// The text is whole but not of this program's records.
    #[error("its records are not this program's: {0}")]
    Records(#[from] serde_json::Error),
}

/// Counts the checksum of what passes.
struct Summed<W> {
    inner: W,
    sum: crc32fast::Hasher,
}

impl<W: Write> Write for Summed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.sum.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Writes a snapshot to `path` so that there is the whole of it or nothing, whatever happens.
pub fn write(path: &Path, snapshot: &Snapshot) -> io::Result<()> {
    let part = path.with_extension("part");
    let file = Summed { inner: File::create(&part)?, sum: crc32fast::Hasher::new() };
    let mut out = BufWriter::with_capacity(1 << 20, file);
    let header = Header { format: FORMAT, program: env!("CARGO_PKG_VERSION").to_owned() };
    serde_json::to_writer(&mut out, &header)?;
    out.write_all(b"\n")?;
    serde_json::to_writer(&mut out, snapshot)?;
    let Summed { mut inner, sum } = out.into_inner().map_err(io::IntoInnerError::into_error)?;
    inner.write_all(format!("\n{:08x}\n", sum.finalize()).as_bytes())?;
    inner.sync_all()?;
    fs::rename(&part, path)?;
    super::sync_directory(path.parent().unwrap_or(Path::new(".")))
}

/// Reads a snapshot.
pub fn read(path: &Path) -> Result<Snapshot, SnapshotError> {
    parse(&fs::read(path)?)
}

/// Reads a snapshot from the bytes of its file.
pub fn parse(bytes: &[u8]) -> Result<Snapshot, SnapshotError> {
    const TRAILER: usize = "\n01234567\n".len();
    let at = bytes.len().checked_sub(TRAILER).ok_or(SnapshotError::Damaged)?;
    let (summed, trailer) = bytes.split_at(at);
    if format!("\n{:08x}\n", crc32fast::hash(summed)).as_bytes() != trailer {
        return Err(SnapshotError::Damaged);
    }
    let line = summed.iter().position(|byte| *byte == b'\n').ok_or(SnapshotError::Damaged)?;
    let (header, records) = summed.split_at(line);
    let Header { format, program } = from_json(header)?;
    match format {
        FORMAT => from_json(records),
        _ => Err(SnapshotError::Format { format, program }),
    }
}

fn from_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, SnapshotError> {
    Ok(serde_json::from_slice(bytes)?)
}
