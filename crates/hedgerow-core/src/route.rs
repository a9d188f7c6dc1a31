//! Route tables, and the plain lookup: the longest prefix decides ("Route priority", Amazon VPC
//! User Guide).

use std::net::IpAddr;

use crate::prefix::IpPrefix;

/// Where a route leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// The interface in the VPC that has the destination address.
    Local,
    /// This interface, by its key, whatever the destination address.
    Interface(u32),
    /// The target is gone: packets are dropped.
    Blackhole,
    /// A gateway to where this fabric does not lead: as if there were no route.
    Unserved,
}

/// The route to `destination` in a table in which every prefix occurs once; `None`: no route.
pub fn lookup(routes: &[(IpPrefix, Target)], destination: IpAddr) -> Option<Target> {
    let matching = routes.iter().filter(|(prefix, _)| prefix.contains(destination));
    matching.max_by_key(|(prefix, _)| prefix.prefix_len()).map(|(_, target)| *target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_prefix_decides() {
        let route = |prefix: &str, target| (prefix.parse().expect("prefix"), target);
        let routes = [
            route("10.0.3.0/24", Target::Interface(7)),
            route("10.0.0.0/16", Target::Local),
            route("10.0.3.9/32", Target::Blackhole),
            route("2001:db8::/56", Target::Local),
            route("::/0", Target::Unserved),
        ];
        let to = |destination: &str| lookup(&routes, destination.parse().expect("address"));
        assert_eq!(to("10.0.1.1"), Some(Target::Local));
        assert_eq!(to("10.0.3.1"), Some(Target::Interface(7)));
        assert_eq!(to("10.0.3.9"), Some(Target::Blackhole));
        assert_eq!(to("10.1.0.1"), None, "the IPv6 default is not for it");
        assert_eq!(to("2001:db8::1"), Some(Target::Local));
        assert_eq!(to("2001:db9::1"), Some(Target::Unserved));
    }
}
