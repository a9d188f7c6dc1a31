use std::time::{Duration, Instant};

use super::client::{ADMIN, Vpc};

const CREATE: &str = "CreateVpc CidrBlock=10.0.0.0/16";

/// How many VPCs there are; the region's default VPC is one.
fn vpcs(vpc: &Vpc) -> usize {
    vpc.ok(ADMIN, "DescribeVpcs").body.matches("<vpcId>").count()
}

#[test]
fn throttled_as_ec2_throttles() {
    let vpc = Vpc::start();
    vpc.weather(r#"{"throttle":{}}"#);
    let answers: Vec<_> = (0..70).map(|_| vpc.ask(ADMIN, "CreateVpc CidrBlock=x")).collect();
    let limited = answers.iter().filter(|a| a.code() == "RequestLimitExceeded");
    assert!(limited.clone().all(|answer| answer.status == 503));
    let count = limited.count();
    assert!((1..=20).contains(&count), "{count} of 70 beyond a bucket of 50 that refills");
    assert_eq!(vpc.ask(ADMIN, "DescribeVpcs").status, 200, "describes have their own bucket");
    let metrics = vpc.http("GET", "/metrics", "", "").expect("metrics").body;
    let line = format!(
        r#"hedgerow_vpc_calls_total{{action="CreateVpc",code="RequestLimitExceeded"}} {count}"#
    );
    assert!(metrics.contains(&line), "{metrics}");
    let line = r#"hedgerow_vpc_principal_calls_total{action="CreateVpc",principal="AKIAADMIN"} 70"#;
    assert!(metrics.contains(line), "{metrics}");
}

#[test]
fn the_third_call_fails_and_changes_nothing() {
    let vpc = Vpc::start();
    vpc.weather(
        r#"{"failures":[{"action":"CreateVpc","nth":3,"code":"Unavailable","message":"<later>"}]}"#,
    );
    vpc.ok(ADMIN, CREATE);
    vpc.ok(ADMIN, CREATE);
    let answer = vpc.fails(ADMIN, "Unavailable", CREATE);
    assert_eq!((answer.status, answer.text("Message")), (503, Some("&lt;later&gt;")));
    vpc.ok(ADMIN, CREATE);
    assert_eq!(vpcs(&vpc), 4);
}

#[test]
fn a_lost_answer_comes_again_with_its_token() {
    let mut vpc = Vpc::start();
    vpc.furnish();
    vpc.weather(r#"{"failures":[{"action":"CreateNetworkInterface","nth":1}]}"#);
    let create = "CreateNetworkInterface SubnetId={subnet} ClientToken=t1 Description=mine";
    assert!(vpc.try_ask(ADMIN, create).is_none(), "the connection is closed");
    vpc.ok(ADMIN, create);
    let found =
        vpc.ok(ADMIN, "DescribeNetworkInterfaces Filter.1.Name=description Filter.1.Value.1=mine");
    assert_eq!(found.body.matches("<networkInterfaceId>").count(), 1, "it was made once");
}

#[test]
fn an_error_after_the_effect() {
    let vpc = Vpc::start();
    vpc.weather(
        r#"{"failures":[{"action":"CreateVpc","code":"InternalError","after_effect":true}]}"#,
    );
    assert_eq!(vpc.fails(ADMIN, "InternalError", CREATE).status, 500);
    vpc.admin("DELETE", "weather", "");
    assert_eq!(vpcs(&vpc), 2);
}

#[test]
fn calls_are_counted_as_the_client_heard_of_them() {
    let vpc = Vpc::start();
    vpc.weather(r#"{"failures":[{"nth":1,"code":"InternalError","after_effect":true},{"nth":2}]}"#);
    vpc.fails(ADMIN, "InternalError", CREATE);
    assert!(vpc.try_ask(ADMIN, CREATE).is_none(), "the answer is lost");
    vpc.ok(ADMIN, CREATE);
    assert_eq!(vpcs(&vpc), 4, "all three were made");
    let metrics = vpc.http("GET", "/metrics", "", "").expect("metrics").body;
    for code in ["InternalError", "NoAnswer", "OK"] {
        let line = format!("hedgerow_vpc_calls_total{{action=\"CreateVpc\",code=\"{code}\"}} 1\n");
        assert!(metrics.contains(&line), "{line}{metrics}");
    }
}

#[test]
fn calls_take_their_time_and_others_do_not() {
    let vpc = Vpc::start();
    vpc.weather(r#"{"latency":[{"action":"Create*","fixed_ms":400}]}"#);
    assert!(vpc.ok(ADMIN, CREATE).took >= Duration::from_millis(400));
    let quick = vpc.ok(ADMIN, "DescribeVpcs").took;
    assert!(quick < Duration::from_millis(400), "{quick:?}");
}

#[test]
fn describes_lag_behind_writes() {
    let vpc = Vpc::start();
    assert_eq!(vpcs(&vpc), 1);
    vpc.weather(r#"{"stale":{"ms":1500}}"#);
    vpc.ok(ADMIN, CREATE);
    let written = Instant::now();
    let count = vpcs(&vpc);
    assert!(count == 1 || written.elapsed() > Duration::from_millis(1_400), "seen at once");
    while vpcs(&vpc) == 1 {
        assert!(written.elapsed() < Duration::from_secs(10), "never seen");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(
        written.elapsed() >= Duration::from_millis(1_400),
        "seen after {:?}",
        written.elapsed()
    );
    vpc.weather(r#"{"stale":{"ms":60000,"share":0.5},"seed":1}"#);
    vpc.ok(ADMIN, CREATE);
    let seen: Vec<_> = (0..40).map(|_| vpcs(&vpc)).collect();
    assert!(seen.contains(&2) && seen.contains(&3), "some see it, some do not: {seen:?}");
}

#[test]
fn an_attachment_hangs() {
    let mut vpc = Vpc::start();
    vpc.furnish();
    vpc.weather(r#"{"attach":{"seconds":2}}"#);
    let attach =
        "AttachNetworkInterface NetworkInterfaceId={other} InstanceId={instance} DeviceIndex=1";
    vpc.make(ADMIN, "attachment", "attachmentId", attach);
    let status = |wanted: &str| {
        let filter = format!(
            "DescribeNetworkInterfaces NetworkInterfaceId.1={{other}} \
             Filter.1.Name=attachment.status Filter.1.Value.1={wanted}"
        );
        vpc.ok(ADMIN, &filter).body.contains("<attachmentId>")
    };
    assert!(status("attaching") && !status("attached"));
    let start = Instant::now();
    while !status("attached") {
        assert!(start.elapsed() < Duration::from_secs(10), "it hangs for ever");
        std::thread::sleep(Duration::from_millis(50));
    }
    vpc.ok(ADMIN, "DetachNetworkInterface AttachmentId={attachment}");
}

#[test]
fn a_detached_attachment_does_not_come_back() {
    let mut vpc = Vpc::start();
    vpc.furnish();
    vpc.weather(r#"{"attach":{"seconds":1}}"#);
    let attach =
        "AttachNetworkInterface NetworkInterfaceId={other} InstanceId={instance} DeviceIndex=1";
    vpc.make(ADMIN, "attachment", "attachmentId", attach);
    vpc.ok(ADMIN, "DetachNetworkInterface AttachmentId={attachment}");
    std::thread::sleep(Duration::from_millis(2_100));
    let found = vpc.ok(ADMIN, "DescribeNetworkInterfaces NetworkInterfaceId.1={other}");
    assert!(found.body.contains("<status>available</status>"), "{}", found.body);
}

#[test]
fn a_type_is_short_in_a_zone() {
    let mut vpc = Vpc::start();
    vpc.furnish();
    vpc.weather(r#"{"capacity":[{"instance_type":"m5.*","available":2}]}"#);
    let run = |kind: &str, count: u8| {
        format!(
            "RunInstances ImageId=ami-1 InstanceType={kind} MinCount={count} MaxCount={count} \
             SubnetId={{subnet}}"
        )
    };
    let short = vpc.fails(ADMIN, "InsufficientInstanceCapacity", &run("m5.large", 2));
    assert_eq!(short.status, 500);
    assert!(short.body.contains("sufficient m5.large capacity"), "{}", short.body);
    vpc.ok(ADMIN, &run("m5.large", 1));
    vpc.fails(ADMIN, "InsufficientInstanceCapacity", &run("m5.xlarge", 1));
    vpc.ok(ADMIN, &run("c5.large", 1));
}

#[test]
fn a_launch_gets_what_there_is_from_its_least_on() {
    let mut vpc = Vpc::start();
    vpc.furnish();
    vpc.weather(
        r#"{"capacity":[{"available":6},{"instance_type":"m5.*","available":4}],"stale":{"ms":1}}"#,
    );
    let run = |least: u8, most: u8| {
        format!(
            "RunInstances ImageId=ami-1 InstanceType=m5.large MinCount={least} MaxCount={most} \
             SubnetId={{subnet}} ClientToken=t{least}"
        )
    };
    let running = || {
        std::thread::sleep(Duration::from_millis(20));
        vpc.ok(ADMIN, "DescribeInstances").body.matches("<instanceId>").count()
    };
    vpc.fails(ADMIN, "InsufficientInstanceCapacity", &run(4, 9));
    assert_eq!(running(), 1, "nothing was made");
    vpc.fails(ADMIN, "DryRunOperation", &format!("{} DryRun=True", run(2, 9)));
    let made = vpc.ok(ADMIN, &run(2, 9));
    assert_eq!(made.body.matches("<instanceId>").count(), 3, "{}", made.body);
    assert_eq!(running(), 4, "also as a describe sees it later");
    let ids = |body: &str| {
        let ids = body.split("<instanceId>").skip(1).filter_map(|rest| rest.split('<').next());
        ids.map(str::to_owned).collect::<Vec<_>>()
    };
    let again = vpc.ok(ADMIN, &run(2, 9));
    assert_eq!(ids(&again.body), ids(&made.body), "a repeated request gets the first answer");
    vpc.fails(ADMIN, "IdempotentParameterMismatch", &run(2, 8));
    vpc.fails(ADMIN, "InsufficientInstanceCapacity", &run(1, 9));
}

#[test]
fn a_stopped_instance_leaves_room_and_needs_it_again() {
    let mut vpc = Vpc::start();
    vpc.furnish();
    vpc.weather(r#"{"capacity":[{"instance_type":"m5.*","available":1}]}"#);
    vpc.ok(ADMIN, "StopInstances InstanceId.1={instance}");
    let run = |count: u8| {
        format!(
            "RunInstances ImageId=ami-1 InstanceType=m5.large MinCount={count} MaxCount={count} \
             SubnetId={{subnet}} ClientToken=t{count}"
        )
    };
    vpc.fails(ADMIN, "InsufficientInstanceCapacity", &run(2));
    let first = vpc.ok(ADMIN, &run(1)).text("instanceId").expect("an id").to_owned();
    let again = vpc.ok(ADMIN, &run(1)).text("instanceId").expect("an id").to_owned();
    assert_eq!(first, again, "a repeated request needs no more room");
    vpc.fails(ADMIN, "InsufficientInstanceCapacity", "StartInstances InstanceId.1={instance}");
    vpc.ok(ADMIN, &format!("StartInstances InstanceId.1={first}"));
    vpc.ok(ADMIN, &format!("TerminateInstances InstanceId.1={first}"));
    vpc.ok(ADMIN, "StartInstances InstanceId.1={instance} InstanceId.2={instance}");
}

#[test]
fn the_admin_endpoint_says_what_it_was_told() {
    let vpc = Vpc::start();
    assert_eq!(
        vpc.admin("GET", "weather", "").split_whitespace().collect::<String>(),
        r#"{"seed":0}"#
    );
    vpc.weather(r#"{"seed":5,"stale":{"ms":10}}"#);
    assert!(vpc.admin("GET", "weather", "").contains("\"ms\": 10"));
    let bad = vpc.http("PUT", "/_hedgerow/weather", "", r#"{"wind":1}"#).expect("an answer");
    assert!(bad.status == 400 && bad.body.contains("unknown field `wind`"), "{bad:?}");
    assert!(vpc.admin("GET", "weather", "").contains("\"ms\": 10"), "a mistake changes nothing");
}
