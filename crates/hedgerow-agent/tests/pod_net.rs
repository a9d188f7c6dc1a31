//! Pod networks on the real kernel (root): what ADD makes is there, DEL removes it, a failed ADD
//! leaves nothing.

mod support;

use std::net::Ipv4Addr;

use hedgerow_agent::netlink::{Netlink, TABLE_MAIN};
use hedgerow_agent::pod_net::{self, POD_GATEWAY, PodNet, PodNetError, SandboxKey};
use hedgerow_datapath::node::TABLE_TO_POD;
use support::{Namespace, inside};

fn pod(sandbox: &Namespace, container_id: &str, strict: bool) -> PodNet {
    PodNet {
        key: SandboxKey::new(container_id, "eth0"),
        netns: sandbox.path.clone(),
        ifname: "eth0".to_owned(),
        address: Ipv4Addr::new(10, 9, 8, 7),
        strict,
        mtu: 9001,
    }
}

fn attached(_: u32) -> Result<(), String> {
    Ok(())
}

#[test]
fn add_makes_everything_and_del_removes_it() {
    for strict in [false, true] {
        let (node, sandbox) = (Namespace::new("node"), Namespace::new("pod"));
        let pod = pod(&sandbox, "one", strict);
        let host_name = pod.host_name();
        assert!(host_name.starts_with(if strict { "vlan" } else { "eni" }));
        inside(&node, |netlink| {
            let mut seen_down = false;
            let mut inside = sandbox.netlink();
            let host = pod_net::set_up(netlink, &pod, |index| {
                // What judges packets is in place before any can pass.
                let mut netlink = Netlink::open().unwrap();
                let link = netlink.links().unwrap().into_iter().find(|l| l.index == index);
                seen_down = link.is_some_and(|l| !l.up);
                attached(index)
            })
            .unwrap();
            assert!(seen_down);

            let link = netlink.link(&host_name).unwrap().unwrap();
            assert_eq!((link.index, link.up, link.mtu), (host, true, 9001));
            assert_eq!(link.mac, Some(pod.key.host_mac()));
            assert_eq!(netlink.neighbours(host).unwrap(), [(pod.address, pod.key.pod_mac())]);
            let tables =
                if strict { (TABLE_TO_POD, TABLE_MAIN) } else { (TABLE_MAIN, TABLE_TO_POD) };
            let route = netlink.routes(tables.0).unwrap();
            assert!(route.iter().any(|r| r.destination == (pod.address, 32) && r.link == host));
            assert!(!netlink.routes(tables.1).unwrap().iter().any(|r| r.link == host));

            let eth = inside.link("eth0").unwrap().unwrap();
            assert_eq!((eth.up, eth.mtu, eth.mac), (true, 9001, Some(pod.key.pod_mac())));
            assert_eq!(inside.addresses(eth.index).unwrap(), [pod.address]);
            let gateway = (POD_GATEWAY, pod.key.host_mac());
            assert!(inside.neighbours(eth.index).unwrap().contains(&gateway));
            let routes = inside.routes(TABLE_MAIN).unwrap();
            let default = routes.iter().find(|r| r.destination.1 == 0).unwrap();
            assert_eq!(default.gateway, Some(POD_GATEWAY));
            assert!(
                routes.iter().any(|r| r.destination == (POD_GATEWAY, 32) && r.gateway.is_none())
            );
            assert_eq!(pod_net::missing(netlink, &pod).unwrap(), None);

            assert!(pod_net::tear_down(netlink, &pod.key).unwrap());
            assert!(!pod_net::tear_down(netlink, &pod.key).unwrap(), "twice is fine");
            assert!(pod_net::missing(netlink, &pod).unwrap().is_some());
            assert_eq!(netlink.link(&host_name).unwrap(), None);
            assert_eq!(inside.link("eth0").unwrap(), None);
            assert!(netlink.routes(tables.0).unwrap().is_empty());
        });
    }
}

#[test]
fn a_failed_add_leaves_nothing() {
    let (node, sandbox) = (Namespace::new("node"), Namespace::new("pod"));
    let pod = pod(&sandbox, "one", false);
    inside(&node, |netlink| {
        let error = pod_net::set_up(netlink, &pod, |_| Err("no")).unwrap_err();
        assert!(matches!(error, PodNetError::Datapath(_)), "{error}");
        assert_eq!(netlink.links().unwrap().len(), 1, "lo only");
        assert_eq!(sandbox.netlink().link("eth0").unwrap(), None);

        // The pod's side fails late: its address family is fine, its interface name is taken.
        pod_net::set_up(netlink, &pod, attached).unwrap();
        let again = PodNet { key: SandboxKey::new("two", "eth0"), ..pod.clone() };
        pod_net::set_up(netlink, &again, attached).unwrap_err();
        assert_eq!(netlink.links().unwrap().len(), 2, "lo and the first pair");

        let lost = PodNet { netns: "/nonexistent".into(), ..again.clone() };
        let error = pod_net::set_up(netlink, &lost, attached).unwrap_err();
        assert!(matches!(error, PodNetError::Netns { .. }), "{error}");
        let own = PodNet { netns: "/proc/thread-self/ns/net".into(), ..again };
        let error = pod_net::set_up(netlink, &own, attached).unwrap_err();
        assert!(matches!(error, PodNetError::OwnNamespace(_)), "{error}");
    });
}

#[test]
fn a_late_del_of_a_namesake_touches_nobody_else() {
    let node = Namespace::new("node");
    let (old, new) = (Namespace::new("pod"), Namespace::new("pod"));
    inside(&node, |netlink| {
        let first = pod(&old, "old-sandbox", false);
        pod_net::set_up(netlink, &first, attached).unwrap();
        let second =
            PodNet { address: Ipv4Addr::new(10, 9, 8, 6), ..pod(&new, "new-sandbox", false) };
        pod_net::set_up(netlink, &second, attached).unwrap();
        assert!(pod_net::tear_down(netlink, &first.key).unwrap());
        assert!(!pod_net::tear_down(netlink, &first.key).unwrap());
        assert_eq!(pod_net::missing(netlink, &second).unwrap(), None);
    });
}

#[test]
fn a_namespace_that_went_away_takes_its_link_along() {
    let node = Namespace::new("node");
    let sandbox = Namespace::new("pod");
    let pod = pod(&sandbox, "one", true);
    inside(&node, |netlink| {
        pod_net::set_up(netlink, &pod, attached).unwrap();
        drop(sandbox);
        for _ in 0..200 {
            if netlink.link(&pod.host_name()).unwrap().is_none() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        assert!(!pod_net::tear_down(netlink, &pod.key).unwrap(), "nothing is left to remove");
    });
}

#[test]
fn add_takes_a_few_milliseconds() {
    let node = Namespace::new("node");
    inside(&node, |netlink| {
        let mut times: Vec<_> = (0..10)
            .map(|i| {
                let sandbox = Namespace::new("pod");
                let pod = pod(&sandbox, &format!("pod-{i}"), false);
                let start = std::time::Instant::now();
                pod_net::set_up(netlink, &pod, attached).unwrap();
                let took = start.elapsed();
                pod_net::tear_down(netlink, &pod.key).unwrap();
                took
            })
            .collect();
        times.sort();
        println!("set_up: median {:?}, worst {:?}", times[5], times[9]);
        // Far above what it takes, far below what anybody would notice: the machine is shared.
        assert!(times[5] < std::time::Duration::from_millis(100), "{times:?}");
    });
}
