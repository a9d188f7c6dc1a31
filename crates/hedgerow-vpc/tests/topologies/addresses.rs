//! The few addresses that cases are made of, close to each other, so that random prefixes often hold
//! random addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hedgerow_core::prefix::{IpPrefix, Ipv6Prefix};
use proptest::prelude::*;
use proptest::sample::select;

/// Where the secondary addresses of fixed interfaces begin. Their primary ones are left alone: flows
/// from and to these would last from one case to the next.
pub const FIRST_SECONDARY: u8 = 64;
/// How many interfaces there are in every case.
pub const FIXED: usize = 6;
/// How many elastic addresses there are.
pub const ELASTICS: usize = 4;
/// How many secondary addresses come and go between them.
pub const SHARED: usize = 4;
/// The number of the subnet with the fixed interfaces; the others count from 0.
pub const FIXED_SUBNET: u8 = 200;

/// The block of both VPCs.
pub const BLOCK: &str = "10.0.0.0/16";

/// The IPv6 block that the region gives to the VPC.
pub fn block_v6(vpc: usize) -> Ipv6Prefix {
    Ipv6Prefix::new(Ipv6Addr::new(0x3fff, 0x23, 0, 0x100 * (vpc as u16 + 1), 0, 0, 0, 0), 56)
}

/// The blocks of a VPC's subnet with this number.
pub fn subnet_blocks(vpc: usize, number: u8) -> [IpPrefix; 2] {
    let v4 = IpPrefix::new(Ipv4Addr::new(10, 0, number, 0).into(), 24);
    let v6 = block_v6(vpc).nth(u128::from(number) << 64);
    [v4, IpPrefix::new(v6.into(), 64)]
}

/// An address of a block.
pub fn nth(block: IpPrefix, host: u32) -> IpAddr {
    match block {
        IpPrefix::V4(block) => block.nth(host).into(),
        IpPrefix::V6(block) => block.nth(host.into()).into(),
    }
}

/// A /80 of a subnet's IPv6 block. The first and the last cannot be had.
pub fn delegated(block: IpPrefix, number: u8) -> IpPrefix {
    match block {
        IpPrefix::V6(block) => {
            IpPrefix::new(block.nth(u128::from(number) << 48).into(), DELEGATED_LEN)
        }
        IpPrefix::V4(block) => panic!("a /80 of {block}"),
    }
}

const DELEGATED_LEN: u8 = 80;

/// The address itself, or one of a delegated prefix.
pub fn one_of(held: IpPrefix) -> IpAddr {
    let host = if held.prefix_len() == DELEGATED_LEN { 5 } else { 0 };
    nth(held, host)
}

/// Every address of a family.
pub fn everywhere(six: bool) -> IpPrefix {
    match six {
        true => IpPrefix::new(Ipv6Addr::UNSPECIFIED.into(), 0),
        false => IpPrefix::new(Ipv4Addr::UNSPECIFIED.into(), 0),
    }
}

pub fn is_six(prefix: IpPrefix) -> bool {
    matches!(prefix, IpPrefix::V6(_))
}

/// How many hosts of a subnet interfaces are spread over, as far as these are free.
pub const HOSTS: usize = 6;

/// A subnet of a case and a host in it, as interfaces have them.
fn made() -> impl Strategy<Value = (u8, u8)> {
    (select(vec![0u8, 0, 1, 2, 3]), 4..4 + HOSTS as u8)
}

/// A secondary address of the fixed interfaces: each one's own, and those that come and go.
fn secondary() -> impl Strategy<Value = u8> {
    prop_oneof![1 => 0..FIXED as u8, 1 => FIXED as u8..(FIXED + SHARED) as u8]
        .prop_map(|n| FIRST_SECONDARY + n)
}

/// Those who are outside.
pub const STRANGERS: [&str; 4] =
    ["203.0.113.7", "203.0.113.9", "2001:db8:203:113::7", "2001:db8:203:113::9"];

/// One of those outside, of a family if only that will do.
pub fn stranger(which: usize, six: Option<bool>) -> IpAddr {
    let all = STRANGERS.map(|text| text.parse::<IpAddr>().expect("an address"));
    let fits = |address: &&IpAddr| six.is_none_or(|six| six == address.is_ipv6());
    let fitting: Vec<&IpAddr> = all.iter().filter(fits).collect();
    *fitting[which % fitting.len()]
}

fn strangers(six: bool) -> impl Strategy<Value = IpAddr> {
    (0usize..2).prop_map(move |which| stranger(which, Some(six)))
}

/// Where routes to an internet gateway lead.
pub fn outside() -> impl Strategy<Value = IpPrefix> {
    let prefixes = ["0.0.0.0/0", "203.0.113.0/24", "203.0.113.7/32", "198.18.0.0/15"];
    let of_v6 = ["::/0", "2001:db8::/32", "2001:db8:203:113::7/128"];
    let all = prefixes.iter().chain(&of_v6).map(|text| text.parse().expect("a prefix"));
    select(all.collect::<Vec<IpPrefix>>())
}

fn v4() -> BoxedStrategy<IpAddr> {
    prop_oneof![
        9 => made().prop_map(|(subnet, host)| Ipv4Addr::new(10, 0, subnet, host)),
        9 => secondary().prop_map(|host| Ipv4Addr::new(10, 0, FIXED_SUBNET, host)),
        1 => Just(Ipv4Addr::new(10, 1, 0, 4)),
        1 => Just(Ipv4Addr::new(192, 0, 2, 7)),
        1 => Just(Ipv4Addr::new(224, 0, 0, 1)),
        1 => Just(Ipv4Addr::new(10, 0, 0, 255)),
    ]
    .prop_map(IpAddr::V4)
    .boxed()
}

fn v6() -> impl Strategy<Value = IpAddr> {
    let vpc = || select(vec![0usize, 0, 0, 0, 1]);
    let in_subnet = |(vpc, (number, host)): (usize, (u8, u8))| {
        nth(subnet_blocks(vpc, number)[1], u32::from(host))
    };
    let in_prefix = |(vpc, number, prefix): (usize, u8, u8)| {
        one_of(delegated(subnet_blocks(vpc, number)[1], prefix))
    };
    let odd = ["3fff:23:0:900::4", "2001:db8::7", "ff02::1", "fe80::1", "::"];
    let odd = odd.map(|text| text.parse().expect("an address")).to_vec();
    prop_oneof![
        8 => (vpc(), made()).prop_map(in_subnet),
        8 => (vpc(), secondary().prop_map(|host| (FIXED_SUBNET, host))).prop_map(in_subnet),
        4 => (vpc(), select(vec![0u8, 1, FIXED_SUBNET, FIXED_SUBNET]), 1u8..4).prop_map(in_prefix),
        3 => select(odd),
    ]
}

pub fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![5 => v4(), 1 => strangers(false), 5 => v6(), 1 => strangers(true)]
}

fn lengths(of_v4: &[u8], of_v6: &[u8]) -> impl Strategy<Value = (u8, u8)> + use<> {
    (select(of_v4.to_vec()), select(of_v6.to_vec()))
}

fn around((address, (v4, v6)): (IpAddr, (u8, u8))) -> IpPrefix {
    IpPrefix::new(address, if address.is_ipv6() { v6 } else { v4 })
}

/// As rules, lists and entries name them.
pub fn prefix() -> impl Strategy<Value = IpPrefix> {
    let len = lengths(
        &[0, 8, 15, 16, 22, 23, 24, 28, 29, 30, 31, 31, 32, 32, 32],
        &[0, 20, 55, 56, 62, 63, 64, 64, 80, 81, 112, 124, 126, 127, 127, 128, 128, 128],
    );
    (address(), len).prop_map(around)
}

/// As routes name them.
pub fn destination() -> impl Strategy<Value = IpPrefix> {
    let len = lengths(
        &[0, 16, 16, 22, 23, 24, 24, 24, 28, 32],
        &[0, 56, 56, 56, 56, 62, 63, 64, 64, 80, 128],
    );
    (address(), len).prop_map(around)
}
