//! What passed and what was dropped, flow by flow: `bpf/fabric/account.h`.

use std::net::IpAddr;
use std::os::fd::AsFd;

use aya::Ebpf;
use aya::maps::{HashMap, IterableMap, MapData, PerCpuArray};
use hedgerow_core::reason::Reason;

use super::FabricError;
use super::layout::{AccountKey, AccountRecord};
use super::maps::{failed, shared, take};
use crate::sys::{SharedWords, take_all};

const ETHERTYPE_IPV6: u16 = 0x86dd;

/// Packets of one flow, in one direction, that fared the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Account {
    /// The sender's interface key; for frames without a valid sender the port's.
    pub from: Option<u32>,
    /// The receiver's interface key.
    pub to: Option<u32>,
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// Source port of TCP and UDP, else 0.
    pub source_port: u16,
    /// Destination port of TCP and UDP, else 0.
    pub destination_port: u16,
    /// IANA protocol number.
    pub protocol: u8,
    /// [`Reason::Allowed`], or why they were dropped.
    pub reason: Reason,
    /// How many they are: segments, where the sender's stack left segmentation to the card.
    pub packets: u64,
    /// Bytes of their IP packets.
    pub bytes: u64,
    /// When the first of them came, nanoseconds of `CLOCK_MONOTONIC`.
    pub first: u64,
    /// When the last of them came.
    pub last: u64,
    /// FIN 1, SYN 2, RST 4, and ACK 16 where it came with SYN: all that were seen.
    pub tcp_flags: u8,
}

impl Account {
    fn read(key: &AccountKey, record: &AccountRecord) -> Option<Account> {
        let interface = |key: u32| (key != 0).then_some(key);
        let address = |octets: [u8; 16]| match key.ethertype {
            ETHERTYPE_IPV6 => IpAddr::from(octets),
            _ => IpAddr::from([octets[0], octets[1], octets[2], octets[3]]),
        };
        Some(Account {
            from: interface(key.from),
            to: interface(key.to),
            source: address(key.source),
            destination: address(key.destination),
            source_port: key.source_port,
            destination_port: key.destination_port,
            protocol: key.protocol,
            reason: Reason::from_number(u32::from(key.reason))?,
            packets: record.packets,
            bytes: record.bytes,
            first: record.first,
            last: record.last,
            tcp_flags: record.flags as u8,
        })
    }
}

/// The two tables that take turns.
pub(super) struct Accounts {
    tables: [HashMap<MapData, AccountKey, AccountRecord>; 2],
    turn: SharedWords,
    turns: u32,
    missed: PerCpuArray<MapData, u64>,
}

impl Accounts {
    pub fn open(ebpf: &mut Ebpf) -> Result<Self, FabricError> {
        let mut table = |name| HashMap::try_from(take(ebpf, name)?).map_err(failed("open", name));
        let tables = [table("accounts_even")?, table("accounts_odd")?];
        let missed = take(ebpf, "unaccounted")?;
        let turn = shared(ebpf, "account_turn", 1)?;
        Ok(Self {
            tables,
            // The tables may be those of a process before.
            turns: turn.load(0),
            turn,
            missed: PerCpuArray::try_from(missed).map_err(failed("open", "unaccounted"))?,
        })
    }

    /// What was counted before the last call: the table that was written to until then is written
    /// to no more. The present one is what the next call returns.
    pub fn take(&mut self) -> Result<Vec<Account>, FabricError> {
        let idle = &self.tables[(self.turns as usize + 1) % 2];
        let entries: Vec<(AccountKey, AccountRecord)> = take_all(idle.map().fd().as_fd())
            .map_err(|source| FabricError::Take { map: "accounts", source })?;
        self.turns = self.turns.wrapping_add(1);
        self.turn.store(0, self.turns);
        Ok(entries.iter().filter_map(|(key, record)| Account::read(key, record)).collect())
    }

    /// Packets that were not counted since the start, the tables being full.
    pub fn missed(&self) -> Result<u64, FabricError> {
        let counts = self.missed.get(&0, 0).map_err(failed("read", "unaccounted"))?;
        Ok(counts.iter().sum())
    }
}
