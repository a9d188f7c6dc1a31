use std::time::Duration;

use proptest::prelude::*;

use super::config::Distribution;
use super::*;
use crate::api;
use crate::state::time::Timestamp;
use crate::state::{Quotas, State};

fn weather(text: &str) -> Weather {
    Weather::new(Config::parse(text).unwrap_or_else(|error| panic!("{text}\n{error}")))
}

/// Codes of calls of one action at one instant; `-` where it is not refused.
fn codes(weather: &mut Weather, action: &str, calls: usize) -> Vec<&'static str> {
    let meet = |_| weather.meet("us-west-2", action, Load::ONE, Millis(0)).refusal;
    (0..calls).map(meet).map(|refusal| refusal.map_or("-", |(error, _)| error.code)).collect()
}

#[test]
fn fair_weather_by_default() {
    let mut fair = weather("{}");
    assert_eq!(fair.meet("us-west-2", "RunInstances", Load::ONE, Millis(0)), Fate::default());
}

#[test]
fn the_same_seed_gives_the_same_weather() {
    let text = |seed: u64| {
        format!(
            r#"{{"seed":{seed},"latency":[{{"uniform_ms":[0,100]}}],"failures":[{{"share":0.5,"code":"X"}}]}}"#
        )
    };
    let run = |seed| {
        let mut weather = weather(&text(seed));
        let meet = |action| weather.meet("us-west-2", action, Load::ONE, Millis(0));
        ["CreateVpc", "DescribeVpcs", "CreateVpc", "CreateVpc"]
            .repeat(10)
            .into_iter()
            .map(meet)
            .collect::<Vec<_>>()
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));
}

#[test]
fn failures_by_number_interval_and_share() {
    for (rule, action, want) in [
        (r#"{"nth":3,"code":"X"}"#, "CreateVpc", "--X--"),
        (r#"{"nth":[1,4],"code":"X"}"#, "CreateVpc", "X--X-"),
        (r#"{"every":2,"code":"X"}"#, "CreateVpc", "-X-X-"),
        (r#"{"action":"Create*","code":"X"}"#, "CreateVpc", "XXXXX"),
        (r#"{"action":"Delete*","code":"X"}"#, "CreateVpc", "-----"),
        (r#"{"share":0,"code":"X"}"#, "CreateVpc", "-----"),
        (r#"{"share":1,"code":"X","status":599}"#, "CreateVpc", "XXXXX"),
    ] {
        let mut weather = weather(&format!(r#"{{"failures":[{rule}]}}"#));
        assert_eq!(codes(&mut weather, action, 5).concat(), want, "{rule}");
    }
    let mut half = weather(r#"{"failures":[{"share":0.5,"code":"X"}]}"#);
    let failed = codes(&mut half, "CreateVpc", 10_000).iter().filter(|code| **code == "X").count();
    assert!((4_700..5_300).contains(&failed), "{failed} of 10,000 failed");
}

#[test]
fn failures_after_the_effect() {
    let mut lost = weather(r#"{"failures":[{}]}"#);
    let fate = lost.meet("us-west-2", "CreateVpc", Load::ONE, Millis(0));
    assert_eq!((fate.refusal, fate.afterwards), (None, Some(Afterwards::Silence)));
    let mut late = weather(r#"{"failures":[{"code":"InternalError","after_effect":true}]}"#);
    let fate = late.meet("us-west-2", "CreateVpc", Load::ONE, Millis(0));
    assert!(fate.refusal.is_none() && matches!(fate.afterwards, Some(Afterwards::Error(..))));
}

#[test]
fn buckets_are_ec2s() {
    for (action, whole, capacity, back) in [
        ("CreateNetworkInterface", false, 50, 5),
        ("DescribeSubnets", true, 100, 20),
        ("DescribeInstances", false, 100, 20),
        ("DescribeInstances", true, 50, 10),
        ("RunInstances", false, 5, 2),
        ("CreateTags", false, 100, 10),
    ] {
        let mut weather = weather(r#"{"throttle":{}}"#);
        let load = Load { whole, ..Load::ONE };
        let mut passed = |at| {
            let calls = (0..200)
                .filter(|_| weather.meet("us-west-2", action, load, Millis(at)).refusal.is_none());
            calls.count()
        };
        let counts = [passed(0), passed(1_000), passed(1_000), passed(3_600_000)];
        assert_eq!(counts, [capacity, back, 0, capacity], "{action}");
    }
    let mut weather =
        weather(r#"{"throttle":{"buckets":[{"action":"*Vpc","capacity":2,"refill":0}]}}"#);
    assert_eq!(codes(&mut weather, "CreateVpc", 3), ["-", "-", "RequestLimitExceeded"]);
    assert_eq!(codes(&mut weather, "DeleteVpc", 1), ["RequestLimitExceeded"], "they share it");
    assert_eq!(codes(&mut weather, "CreateSubnet", 1), ["-"], "others have EC2's");
    assert!(weather.meet("eu-west-1", "CreateVpc", Load::ONE, Millis(0)).refusal.is_none());
}

#[test]
fn instances_have_buckets_of_their_own() {
    for (action, back) in [("RunInstances", 2), ("TerminateInstances", 20)] {
        let mut weather = weather(r#"{"throttle":{}}"#);
        let mut passes = |instances, at| {
            let load = Load { whole: false, instances };
            weather.meet("us-west-2", action, load, Millis(at)).refusal.is_none()
        };
        assert!(passes(1_000, 0), "{action} of a thousand");
        assert!(!passes(1, 0), "{action} of one more");
        assert!(!passes(back + 1, 1_000) && passes(back, 1_000), "{action} a second later");
    }
}

#[test]
fn latency_has_the_percentiles_asked_for() {
    let ms = |text: &str, chance: f64| {
        let distribution: Distribution = serde_json::from_str(text).expect(text);
        distribution.sample(chance)
    };
    let exponential = r#"{"exponential_ms":{"p50":100,"p99":500}}"#;
    for (text, chance, want) in [
        (r#"{"fixed_ms":20}"#, 0.9, 20),
        (r#"{"uniform_ms":[10,30]}"#, 0.0, 10),
        (r#"{"uniform_ms":[10,30]}"#, 0.5, 20),
        (exponential, 0.5, 100),
        (exponential, 0.99, 500),
    ] {
        let got = ms(text, chance);
        let want = Duration::from_millis(want);
        assert!(got.abs_diff(want) < Duration::from_micros(1), "{text} at {chance}: {got:?}");
    }
    assert_eq!(ms(r#"{"exponential_ms":{"p50":1,"p99":500}}"#, 0.0), Duration::ZERO);
}

#[test]
fn mistakes_are_named() {
    for (text, want) in [
        ("", "not understood"),
        (r#"{"latencies":[]}"#, "unknown field `latencies`"),
        (r#"{"latency":[{"fixed_ms":-1}]}"#, "latency 1: expected milliseconds"),
        (r#"{"latency":[{"uniform_ms":[5,1]}]}"#, "latency 1: expected milliseconds"),
        (r#"{"latency":[{"fixed_ms":1},{"fixed_ms":1e9}]}"#, "latency 2"),
        (r#"{"throttle":{"buckets":[{"action":"*","capacity":0,"refill":1}]}}"#, "bucket 1"),
        (r#"{"failures":[{"share":2}]}"#, "failures 1, share"),
        (r#"{"failures":[{"every":0}]}"#, "failures 1, every"),
        (r#"{"failures":[{"code":"<b>"}]}"#, "failures 1, code"),
        (r#"{"failures":[{"status":200}]}"#, "failures 1, status"),
        (r#"{"stale":{"ms":1,"share":-1}}"#, "share"),
        (r#"{"stale":{"ms":9999999}}"#, "stale, ms"),
        (r#"{"attach":{"seconds":99999}}"#, "attach, seconds"),
    ] {
        let error = Config::parse(text).expect_err(text).to_string();
        assert!(error.contains(want), "{text}\n  {error}\n  does not say: {want}");
    }
    let long = format!("{{{}}}", " ".repeat(70_000));
    assert_eq!(Config::parse(&long), Err(ConfigError::TooLong));
}

#[test]
fn a_configuration_comes_back_as_it_was() {
    let text = r#"{"seed":3,"latency":[{"action":"Create*","fixed_ms":5.0},{"uniform_ms":[1,2]}],
        "throttle":{},"stale":{"ms":5},"failures":[{"nth":[1,2],"code":"X"}],
        "attach":{"seconds":3,"share":0.5},"capacity":[{"instance_type":"m5.*"}]}"#;
    let config = Config::parse(text).expect("a configuration");
    let again = serde_json::to_string(&config).expect("JSON");
    assert_eq!(Config::parse(&again), Ok(config));
}

/// A state, and a describe of its VPCs' number.
fn vpcs(state: &mut State) -> usize {
    let outcome = api::answer(state, "us-west-2", b"Action=DescribeVpcs", Timestamp(1));
    outcome.result.expect("an answer").matches("<vpcId>").count()
}

#[test]
fn the_past_lags_and_comes_to_the_same() {
    let mut state = State::new(1, Quotas::default());
    assert_eq!(vpcs(&mut state), 1);
    let mut past = Past::new(&state, 500);
    for (at, block) in [(1_000, "10.0.0.0/16"), (1_300, "10.1.0.0/16")] {
        let body = format!("Action=CreateVpc&CidrBlock={block}").into_bytes();
        let (mint, now) = (state.mint_position(), Timestamp(2));
        let outcome = api::answer(&mut state, "us-west-2", &body, now);
        assert!(outcome.result.is_ok());
        let region = "us-west-2".to_owned();
        past.note(Millis(at), Change { region, body, now, mint, attaching: None, room: None });
    }
    for (at, want) in [(1_000, 1), (1_499, 1), (1_500, 2), (1_799, 2), (1_800, 3), (1_600, 3)] {
        assert_eq!(vpcs(past.at(Millis(at), Timestamp(3))), want, "at {at}");
    }
    assert!(*past.at(Millis(9_000), Timestamp(9)) == state, "the same records and ids");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Config::parse(&String::from_utf8_lossy(&bytes));
        let mut state = State::new(1, Quotas::default());
        vpcs(&mut state);
        let region = state.region("us-west-2").expect("opened");
        let body = [b"Action=RunInstances&", bytes.as_slice()].concat();
        let _ = shortage(&[config::Capacity::default()], region, &body);
    }

    #[test]
    fn any_numbers_are_refused_or_sampled(a in any::<f64>(), b in any::<f64>(), chance in 0.0..1.0) {
        for text in [
            format!(r#"{{"latency":[{{"uniform_ms":[{a:?},{b:?}]}}]}}"#),
            format!(r#"{{"latency":[{{"exponential_ms":{{"p50":{a:?},"p99":{b:?}}}}}]}}"#),
        ] {
            if let Ok(config) = Config::parse(&text) {
                let most = Duration::from_secs(600);
                prop_assert!(config.latency[0].distribution.sample(chance) <= most);
            }
        }
    }
}
