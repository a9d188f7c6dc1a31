//! Twins of the structures in `bpf/fabric/maps.h`. Sizes are asserted on both sides; neither has
//! padding (bytemuck refuses it). Addresses are in network order, as they are in packets.

use bytemuck::{Pod, Zeroable};

/// Words of a rule bit vector: at most 1,024 rules per combination, direction and family.
pub const RULE_WORDS: usize = 32;
/// `HR_NO_RULE`: no rule decided.
pub const NO_RULE: u16 = 0xffff;
/// `HR_UNTAGGED`: the VLAN of frames without a tag.
pub const UNTAGGED: u16 = 0xffff;

macro_rules! twin {
    ($(#[$doc:meta])* $name:ident, $size:literal { $($field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Pod, Zeroable)]
        #[repr(C)]
        #[allow(missing_docs, reason = "documented in bpf/fabric/maps.h")]
        pub struct $name { $(pub $field: $type,)* }

        const _: () = assert!(size_of::<$name>() == $size);
        // SAFETY: the derive of bytemuck::Pod proves that any bytes are a value, without padding.
        unsafe impl aya::Pod for $name {}
    };
}

twin! {
    /// `struct hr_port`.
    Port, 8 { interface: u32, vpc: u32, }
}
twin! {
    /// `struct hr_interface`.
    InterfaceRecord, 76 {
        key: u32, vpc: u32, ifindex: u32, combination: u32, subnet: u32, mask: u32, vlan: u16,
        mac: [u8; 6], check: u32, routes: u32, acl: u32, idle: [u32; 3], kind: u8, logged: u8,
        mtu: u16, subnet_v6: [u32; 2], mask_v6: [u32; 2],
    }
}
twin! {
    /// `struct hr_vlan_key`.
    VlanKey, 8 { trunk: u32, vlan: u32, }
}
twin! {
    /// `struct hr_address_key`.
    AddressKey, 8 { vpc: u32, address: u32, }
}
twin! {
    /// `struct hr_address`.
    AddressOwner, 16 { interface: u32, vpc: u32, address: u32, since: u32, }
}
twin! {
    /// `struct hr_service`.
    Service, 16 { ifindex: u32, mac: [u8; 6], pad: u16, dns: u32, }
}
twin! {
    /// `struct hr_public`.
    Public, 16 { public: u32, private: u32, vpc: u32, gateway: u32, }
}
twin! {
    /// `struct hr_nat`.
    Nat, 56 {
        far: u32, near: u32, interface: u32, vpc: u32, ports: u32, fresh: u32, addresses: [u32; 8],
    }
}
twin! {
    /// `struct hr_set`.
    SetRecord, 100 {
        id: u32, tables: [u32; 8], others: [u32; 2], words: [u32; 2], denies: [u32; 2],
        groups: [u32; 2], open: [u32; 8],
    }
}
twin! {
    /// `struct hr_block`.
    Block, 512 { at: [u16; 256], }
}
twin! {
    /// `struct hr_bits`.
    Bits, 256 { word: [u64; RULE_WORDS], }
}
twin! {
    /// `struct hr_prefix_key` after its prefix length.
    PrefixKey, 8 { gate: u32, address: u32, }
}
twin! {
    /// `struct hr_route_key` after its prefix length.
    RouteKey, 8 { version: u32, destination: u32, }
}
twin! {
    /// `struct hr_prefix_key_v6` after its prefix length.
    PrefixKeyV6, 20 { number: u32, address: [u8; 16], }
}
twin! {
    /// `struct hr_address_v6`.
    AddressOwnerV6, 8 { interface: u32, since: u32, }
}
twin! {
    /// `struct hr_group_key`.
    GroupKey, 8 { gate: u32, combination: u32, }
}
twin! {
    /// `struct hr_account_key`.
    AccountKey, 48 {
        from: u32, to: u32, source: [u8; 16], destination: [u8; 16], source_port: u16,
        destination_port: u16, ethertype: u16, protocol: u8, reason: u8,
    }
}
twin! {
    /// `struct hr_account`.
    AccountRecord, 40 {
        packets: u64, bytes: u64, first: u64, last: u64, flags: u32, pad: u32,
    }
}
twin! {
    /// `struct hr_event`.
    EventRecord, 56 {
        time: u64, vpc: u32, from: u32, to: u32, source: u32, destination: u32, bytes: u32,
        sets: [u32; 2], rules: [u16; 2], source_port: u16, destination_port: u16, protocol: u8,
        reason: u8, pad: [u8; 6],
    }
}

twin! {
    /// `struct hr_event_v6`.
    EventRecordV6, 88 { event: EventRecord, source: [u8; 16], destination: [u8; 16], }
}

impl Bits {
    /// No rule.
    pub const NONE: Bits = Bits { word: [0; RULE_WORDS] };

    /// Sets bit `rule`.
    pub fn insert(&mut self, rule: usize) {
        self.word[rule / 64] |= 1 << (rule % 64);
    }

    /// Clears bit `rule`.
    pub fn remove(&mut self, rule: usize) {
        self.word[rule / 64] &= !(1 << (rule % 64));
    }

    /// Both vectors' bits.
    #[must_use]
    pub fn union(mut self, other: &Bits) -> Bits {
        self.word.iter_mut().zip(other.word).for_each(|(word, more)| *word |= more);
        self
    }
}
