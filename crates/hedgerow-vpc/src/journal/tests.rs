//! What comes back is what was there: replay, snapshots, and journals cut or damaged anywhere.

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::mirror::Mirror;
use super::{Journal, JournalError, Opened, Options, SegmentError, parse_snapshot, scan};
use crate::api::{self, Terms};
use crate::state::time::Timestamp;
use crate::state::{Quotas, State};

const OPTIONS: Options = Options { records_only: false, sync: false, snapshot_every: u64::MAX };

/// A directory of our own, removed at the end.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("hedgerow-{name}-{}", std::process::id()));
        let _absent = fs::remove_dir_all(&path);
        Self(path)
    }

    fn journals(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.0).expect("the directory");
        let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
        paths.retain(|path| path.to_string_lossy().contains("/journal-"));
        paths.sort();
        paths
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Numbers that look random and are the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % end
    }
}

/// Records that are kept, without a server round them.
struct Kept {
    journal: Journal,
    state: State,
    mirror: Mirror,
    now: u64,
    /// Every id that an answer had.
    ids: Vec<String>,
}

impl Kept {
    fn open(directory: &Path) -> Result<Kept, JournalError> {
        let Opened { journal, mut state, mirror, instant } =
            Journal::open(directory, OPTIONS, State::new(7, Quotas::default()))?;
        state.record();
        Ok(Kept { journal, state, mirror, now: instant.max(1_800_000_000), ids: Vec::new() })
    }

    /// What is compared.
    fn records(&self) -> (State, Mirror) {
        (self.state.clone(), self.mirror.clone())
    }

    fn ask(&mut self, body: &str) -> bool {
        self.ask_on(Terms::default(), body)
    }

    fn ask_on(&mut self, terms: Terms, body: &str) -> bool {
        self.now += 7;
        let now = Timestamp(self.now);
        let outcome = api::answer_on(terms, &mut self.state, "us-west-2", body.as_bytes(), now);
        let entries = self.state.take_entries();
        entries.iter().for_each(|entry| {
            self.journal.append(entry);
        });
        self.mirror.absorb(outcome.effects);
        let text = outcome.result.unwrap_or_default();
        let ids = text.split(['<', '>']).filter(|word| word.contains("-0") && word.len() >= 19);
        self.ids.extend(ids.map(str::to_owned));
        !entries.is_empty()
    }

    fn id(&self, prefix: &str, dice: &mut Dice) -> String {
        let fit: Vec<&String> = self.ids.iter().filter(|id| id.starts_with(prefix)).collect();
        match fit.len() {
            0 => format!("{prefix}-0"),
            count => fit[dice.below(count)].clone(),
        }
    }

    /// Some request, most of which succeed. Whether it changed anything.
    fn step(&mut self, dice: &mut Dice) -> bool {
        let n = self.ids.len() + dice.below(1_000);
        let mut id = |prefix: &str| self.id(prefix, dice);
        let (subnet, group, interface) = (id("subnet-"), id("sg-"), id("eni-"));
        let (vpc, instance) = (id("vpc-"), id("i-"));
        let body = match dice.below(12) {
            0 => format!("Action=CreateVpc&CidrBlock=10.{}.0.0/16", n % 256),
            1 => format!("Action=CreateSubnet&VpcId={vpc}&CidrBlock=172.31.{}.0/28", n % 256),
            2 => {
                format!("Action=CreateSecurityGroup&GroupName=g{n}&GroupDescription=d&VpcId={vpc}")
            }
            3 => format!(
                "Action=AuthorizeSecurityGroupIngress&GroupId={group}&IpPermissions.1.IpProtocol=tcp\
                 &IpPermissions.1.FromPort={n}&IpPermissions.1.ToPort={n}\
                 &IpPermissions.1.IpRanges.1.CidrIp=0.0.0.0/0"
            ),
            4 | 5 => format!(
                "Action=CreateNetworkInterface&SubnetId={subnet}&ClientToken=t{}",
                dice.below(40)
            ),
            6 => format!(
                "Action=RunInstances&ImageId=ami-1&InstanceType=m5.large&MinCount=1&MaxCount=2\
                 &SubnetId={subnet}&ClientToken=r{}",
                dice.below(40)
            ),
            7 => format!("Action=TerminateInstances&InstanceId.1={instance}"),
            8 => format!(
                "Action=CreateTags&ResourceId.1={interface}&Tag.1.Key=k{n}&Tag.1.Value=%C3%A9"
            ),
            9 => format!("Action=DeleteNetworkInterface&NetworkInterfaceId={interface}"),
            10 => format!(
                "Action=AttachNetworkInterface&NetworkInterfaceId={interface}\
                 &InstanceId={instance}&DeviceIndex=1"
            ),
            _ => "Action=DescribeSubnets".to_owned(),
        };
        self.ask(&body)
    }

    /// Takes steps until `count` of them changed something. Each change has a frame of its own.
    fn changes(&mut self, count: usize, dice: &mut Dice, mut after: impl FnMut(&Self)) {
        let mut done = 0;
        while done < count {
            if self.step(dice) {
                done += 1;
                self.settle();
                after(self);
            }
        }
    }

    fn settle(&self) {
        let next = self.journal.next();
        let ready = futures::executor::block_on(self.journal.durable(next));
        ready.expect("the journal is written");
    }

    /// A snapshot, as the server makes it.
    fn snapshot(&self) {
        let (state, mirror) = self.records();
        self.journal.finish_snapshot(&self.journal.begin_snapshot(state, mirror, self.now));
    }
}

#[test]
fn what_comes_back_is_what_was_there_with_and_without_snapshots() {
    for seed in 0..6 {
        let (plain, mixed) =
            (Directory::new(&format!("plain{seed}")), Directory::new(&format!("mixed{seed}")));
        let run = |directory: &Directory, every: usize| {
            let mut dice = Dice(seed);
            let mut kept = Kept::open(&directory.0).expect("a new directory");
            for _ in 0..4 {
                kept.changes(every, &mut dice, |_| {});
                if every == 30 {
                    kept.snapshot();
                }
                kept.changes(60 - every, &mut dice, |_| {});
            }
            kept.settle();
            kept.records()
        };
        // The same requests; one of them with a snapshot now and then.
        let (before, also) = (run(&plain, 20), run(&mixed, 30));
        assert_eq!(before, also, "seed {seed}: the requests are the same");
        let journal_alone = Kept::open(&plain.0).expect("a whole journal").records();
        assert_eq!(journal_alone, before, "seed {seed}: journal alone");
        assert_eq!(mixed.journals().len(), 1, "a snapshot replaces older journals");
        let both = Kept::open(&mixed.0).expect("snapshot and journal").records();
        assert_eq!(both, before, "seed {seed}: snapshot and journal");
    }
}

#[test]
fn a_launch_with_little_room_comes_back_as_it_was() {
    let directory = Directory::new("room");
    let mut kept = Kept::open(&directory.0).expect("a new directory");
    let run = "Action=RunInstances&ImageId=ami-1&InstanceType=m5.large&MinCount=1&MaxCount=5\
               &ClientToken=t";
    assert!(kept.ask_on(Terms { room: Some(2), ..Terms::default() }, run));
    assert_eq!(kept.ids.iter().filter(|id| id.starts_with("i-")).count(), 2, "{:?}", kept.ids);
    assert!(kept.ask(run), "a repeated request");
    kept.settle();
    let records = kept.records();
    drop(kept);
    assert!(Kept::open(&directory.0).expect("the same directory").records() == records);
}

#[test]
fn a_journal_cut_or_damaged_anywhere_gives_what_is_before_or_says_where() {
    const CHANGES: usize = 60;
    let made = Directory::new("made");
    let mut dice = Dice(42);
    let mut kept = Kept::open(&made.0).expect("a new directory");
    let journal = made.journals().remove(0);
    // The length of the file, and the records, after each change.
    let mut after =
        vec![(fs::metadata(&journal).expect("the file").len() as usize, kept.records())];
    kept.changes(CHANGES, &mut dice, |kept| {
        after.push((fs::metadata(&journal).expect("the file").len() as usize, kept.records()));
    });
    drop(kept);
    let bytes = fs::read(&journal).expect("the journal");
    for round in 0..200 {
        let broken = Directory::new("broken");
        fs::create_dir(&broken.0).expect("a directory");
        let snapshot = "snapshot-00000000000000000000";
        fs::copy(made.0.join(snapshot), broken.0.join(snapshot)).expect("copy");
        let path = broken.0.join(journal.file_name().expect("a name"));
        let at = dice.below(bytes.len());
        // How many changes stand whole before `at`; none where not even the header does.
        let whole = after.iter().rposition(|(len, _)| *len <= at).unwrap_or(0);
        let damaged = round % 2 == 1;
        if damaged {
            let mut changed = bytes.clone();
            changed[at] ^= 1 << dice.below(8);
            fs::write(&path, changed).expect("write");
        } else {
            fs::write(&path, &bytes[..at]).expect("write");
        }
        let last = whole + 1 == CHANGES && at >= after[0].0;
        match Kept::open(&broken.0) {
            Err(JournalError::Segment { source: SegmentError::Version(_), .. }) => {
                assert!(damaged && at == 7, "round {round}: damage at {at}");
            }
            Err(JournalError::Segment { source: SegmentError::Damaged { damage, .. }, .. }) => {
                assert!(damaged && !last, "round {round}: byte {at} of {}", bytes.len());
                let begins = if at < after[0].0 { 0 } else { after[whole].0 };
                assert_eq!(damage, begins, "round {round}");
            }
            Err(error) => panic!("round {round}: byte {at}: {error}"),
            Ok(mut kept) => {
                assert!(!damaged || last, "round {round}: damage at {at} went unnoticed");
                assert!(kept.records() == after[whole].1, "round {round}: cut at {at}");
                kept.changes(3, &mut dice, |_| {});
                let records = kept.records();
                drop(kept);
                let again = Kept::open(&broken.0).expect("it went on from there");
                assert!(again.records() == records, "round {round}: after going on");
            }
        }
    }
}

#[test]
fn one_process_one_mode_one_program() {
    let directory = Directory::new("one");
    let mut kept = Kept::open(&directory.0).expect("a new directory");
    kept.changes(3, &mut Dice(1), |_| {});
    let Err(JournalError::Locked { holder, .. }) = Kept::open(&directory.0) else {
        panic!("two of them share a directory");
    };
    assert_eq!(holder, std::process::id().to_string());
    drop(kept);
    let records_only = Options { records_only: true, ..OPTIONS };
    let other = Journal::open(&directory.0, records_only, State::new(7, Quotas::default()));
    assert!(matches!(other, Err(JournalError::Mode { records_only: false, .. })));
    // A program that decides otherwise: here, because its quotas were not what the snapshot says.
    let quotas = Quotas { groups_per_interface: 9, ..Quotas::default() };
    let opened = Journal::open(&directory.0, OPTIONS, State::new(1, quotas.clone()));
    assert_eq!(opened.expect("other quotas").state.quotas(), &quotas);
    let again = Journal::open(&directory.0, OPTIONS, State::new(1, quotas.clone()));
    assert_eq!(again.expect("other quotas").state.quotas(), &quotas);
}

#[test]
fn an_entry_that_comes_to_another_answer_stops_the_program() {
    let directory = Directory::new("diverged");
    let mut kept = Kept::open(&directory.0).expect("a new directory");
    kept.changes(2, &mut Dice(1), |_| {});
    let mut entry = super::Entry {
        kind: super::Kind::Request,
        instant: kept.now,
        mint: kept.state.mint_position(),
        outcome: 0,
        region: "us-west-2".to_owned(),
        body: b"Action=CreateVpc&CidrBlock=10.0.0.0/16".to_vec(),
    };
    entry.outcome = 1;
    kept.journal.append(&entry);
    kept.settle();
    drop(kept);
    let Err(JournalError::Diverged { number: 2, action, .. }) = Kept::open(&directory.0) else {
        panic!("it went on with other records than were answered");
    };
    assert_eq!(action, "CreateVpc");
}

#[test]
fn parsers_take_any_bytes() {
    let mut runner =
        TestRunner::new(Config { cases: 3_000, failure_persistence: None, ..Config::default() });
    let entry = super::Entry {
        kind: super::Kind::Request,
        instant: 1,
        mint: (2, 3),
        outcome: 4,
        region: "us-west-2".to_owned(),
        body: b"Action=DescribeVpcs".to_vec(),
    };
    let mut encoded = Vec::new();
    entry.encode(&mut encoded);
    let mut valid = super::header(5).to_vec();
    valid.extend(super::frame(5, &[encoded.clone(), encoded.clone()]));
    valid.extend(super::frame(7, &[encoded]));
    let patches = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6);
    let input = (prop::collection::vec(any::<u8>(), 0..300), patches, any::<prop::sample::Index>());
    let run = runner.run(&input, |(noise, patches, cut)| {
        let _any = scan(&noise, 5);
        let _any = parse_snapshot(&noise);
        let _any = super::Entry::decode(&mut &noise[..]);
        let mut bytes = valid.clone();
        for (at, byte) in &patches {
            let at = at.index(bytes.len());
            bytes[at] = *byte;
        }
        bytes.truncate(cut.index(bytes.len() + 1));
        bytes.extend(&noise);
        if let Ok(scan) = scan(&bytes, 5) {
            prop_assert!(scan.whole <= bytes.len());
            for (at, (number, read)) in scan.entries.iter().enumerate() {
                prop_assert_eq!(*number, 5 + at as u64);
                prop_assert_eq!(read, &entry);
            }
        }
        Ok(())
    });
    run.expect("no input is too strange");
}
