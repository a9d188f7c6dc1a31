//! One lab, and what its users rely on: run in order on a real cluster, kernel and EC2 endpoint.
//!
//! The scenarios share the lab because starting it is what costs; each can also run alone:
//! `cargo test -p hedgerow --test cluster -- NAME`.

mod access;
mod admission;
mod branch;
mod cluster;
#[path = "../support/mod.rs"]
mod support;
mod traffic;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Arc;

use cluster::Cluster;
use libtest_mimic::{Arguments, Failed, Trial};

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    if arguments.list || arguments.ignored {
        return libtest_mimic::run(&arguments, trials(None)).exit_code();
    }
    let cluster = Arc::new(Cluster::up());
    let conclusion = libtest_mimic::run(&arguments, trials(Some(&cluster)));
    if let Ok(cluster) = Arc::try_unwrap(cluster) {
        cluster.down();
    }
    conclusion.exit_code()
}

type Scenario = fn(&Cluster);

fn trials(cluster: Option<&Arc<Cluster>>) -> Vec<Trial> {
    let scenarios: [(&str, Scenario); 14] = [
        ("before_the_switch_no_trunk_and_no_branch", branch::before_the_switch),
        ("the_switch_brings_trunk_capacity_and_label", branch::the_switch),
        ("a_policy_with_no_or_seventeen_groups_is_refused", admission::bad_policies),
        ("a_selected_pod_gets_its_branch_and_says_so", branch::a_selected_pod),
        ("probes_pass_for_both_kinds_of_pod", traffic::probes),
        ("services_and_dns_work_for_both_kinds_of_pod", traffic::services_and_dns),
        ("groups_decide_between_pods_of_one_node", traffic::groups_between_pods),
        ("host_ports_reach_regular_pods", traffic::host_port),
        ("a_group_that_does_not_exist", branch::unknown_group),
        ("a_forged_annotation_is_denied", admission::forged_annotation),
        ("an_agent_restart_breaks_nothing", traffic::agent_restart),
        ("deletion_frees_interface_vlan_and_address", branch::deletion),
        ("the_shipped_policies_are_enough", access::shipped_policies),
        ("without_the_webhook_nothing_slips_in", admission::fail_closed),
    ];
    scenarios
        .into_iter()
        .map(|(name, scenario)| {
            let cluster = cluster.cloned();
            Trial::test(name, move || {
                let cluster = cluster.ok_or_else(|| Failed::from("no lab"))?;
                // Logs are printed at once: later scenarios stop the pods that wrote them.
                catch_unwind(AssertUnwindSafe(|| scenario(&cluster))).map_err(|panic| {
                    cluster.print_logs();
                    let words = panic.downcast_ref::<String>().cloned();
                    Failed::from(words.unwrap_or("panicked".to_owned()))
                })
            })
        })
        .collect()
}
