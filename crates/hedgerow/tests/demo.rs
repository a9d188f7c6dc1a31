//! The demo as users start it: it ends well, and leaves nothing behind however it ends.

mod support;

use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use support::{HEDGEROW, Lab, free_port};

fn demo(lab: &Lab) -> Command {
    let mut command = Command::new(HEDGEROW);
    command.args(["demo", "--name", &lab.name]);
    command.args(["--ec2-port", &free_port().to_string()]);
    command.args(["--api-port", &free_port().to_string()]);
    command
}

#[test]
fn two_pods_on_one_node_and_only_one_reaches_the_database() {
    let lab = Lab::named("demo");
    let output = demo(&lab).output().expect("hedgerow starts");
    let (words, errors) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{words}\n{errors}");
    assert!(words.contains("Two pods on one node, only one reaches the database."), "{words}");
    assert_eq!(lab.remains(), Vec::<String>::new());
}

#[test]
fn an_interrupted_demo_leaves_nothing() {
    let lab = Lab::named("ctrlc");
    let mut child =
        demo(&lab).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("hedgerow starts");
    // In the middle of `lab up`: processes run, the API server is not ready.
    thread::sleep(Duration::from_secs(4));
    kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).expect("it runs");
    let status = child.wait().expect("it ends");
    assert!(!status.success(), "an interrupted demo has not shown anything");
    assert_eq!(lab.remains(), Vec::<String>::new());
}
