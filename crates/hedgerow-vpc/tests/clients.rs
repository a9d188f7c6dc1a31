//! Clients that hang, send half a body, send too much or never stop: what they do is theirs, and the
//! others' calls are answered in time.

mod running;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use running::{Vpc, exchange, metadata};

/// How long a well-behaved client may wait while the others misbehave. A call takes a millisecond;
/// the machine may be busy.
const BOUND: Duration = Duration::from_secs(2);
/// As in `server/http.rs`.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
const MAX_BODY: usize = 1 << 20;
const SEATS: usize = 2_048;

fn post(body: &str) -> String {
    format!(
        "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// A call of a new client is answered, and in time.
fn answers_in_time(vpc: &Vpc, while_others: &str) {
    let start = Instant::now();
    let answer = exchange(vpc.endpoint, &post("Action=DescribeVpcs")).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let took = start.elapsed();
    println!("{took:?} while others {while_others}");
    assert!(took < BOUND, "{took:?} while others {while_others}");
}

/// Connections on which this was sent, and nothing more.
fn hang(to: SocketAddr, count: usize, sent: &str) -> Vec<TcpStream> {
    let open = |_| {
        let mut stream = TcpStream::connect(to).expect("connect");
        stream.write_all(sent.as_bytes()).expect("send");
        stream
    };
    (0..count).map(open).collect()
}

/// What comes until the other side ends the connection, which it must within `patience`.
fn rest(mut stream: TcpStream, patience: Duration) -> String {
    stream.set_read_timeout(Some(patience)).expect("a timeout");
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
            panic!("still open after {patience:?}: {}", String::from_utf8_lossy(&bytes))
        }
        // A reset after the answer is an end, too.
        _ => String::from_utf8_lossy(&bytes).into_owned(),
    }
}

#[test]
fn a_client_that_has_said_all_is_answered() {
    let vpc = Vpc::start(&["--records-only"]);
    for _ in 0..20 {
        let mut stream = TcpStream::connect(vpc.endpoint).expect("connect");
        stream
            .write_all(
                post(
                    "Action=RunInstances&ImageId=ami-1&InstanceType=m5.large&MinCount=1&MaxCount=1",
                )
                .as_bytes(),
            )
            .expect("send");
        stream.shutdown(std::net::Shutdown::Write).expect("shutdown");
        let answer = rest(stream, BOUND);
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
}

#[test]
fn clients_that_hang_stop_nobody() {
    let vpc = Vpc::start(&["--records-only"]);
    answers_in_time(&vpc, "are not there");

    let idle = hang(vpc.endpoint, 1_000, "");
    answers_in_time(&vpc, "hold 1,000 connections");
    let heads = hang(vpc.endpoint, 100, "POST / HTTP/1.1\r\nHost: x\r\nX-Slow: ");
    let bodies =
        hang(vpc.endpoint, 100, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\nAction=");
    let since = Instant::now();
    answers_in_time(&vpc, "send half a head or half a body, too");

    // A byte now and then keeps no body alive beyond its time.
    let mut dripping =
        hang(vpc.endpoint, 1, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n");
    let mut drip = dripping.pop().expect("one");
    while since.elapsed() < BODY_TIMEOUT {
        let _may_be_over = drip.write_all(b"x");
        std::thread::sleep(Duration::from_millis(500));
    }
    for stream in bodies.into_iter().chain([drip]) {
        let answer = rest(stream, BODY_TIMEOUT);
        assert!(answer.starts_with("HTTP/1.1 408"), "half a body: {answer}");
    }
    answers_in_time(&vpc, "still hold 1,100 connections");
    drop((idle, heads));
}

/// More connections than there are seats: who waits for longest without a whole request leaves, and
/// not who was served or comes now.
#[test]
fn more_clients_that_hang_than_there_are_seats_stop_nobody() {
    let vpc = Vpc::start(&["--records-only"]);
    let request = post("Action=DescribeRegions").replace("Connection: close\r\n", "");
    let mut served = TcpStream::connect(vpc.endpoint).expect("connect");
    let mut ask_again = || {
        served.write_all(request.as_bytes()).expect("send");
        let mut head = [0; 12];
        served.read_exact(&mut head).expect("an answer");
        assert_eq!(&head, b"HTTP/1.1 200");
        let mut rest = vec![0; 1 << 16];
        while served.read(&mut rest).expect("the rest") == rest.len() {}
    };
    ask_again();
    let half = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\nAction=";
    let mut hanging = Vec::new();
    for (sent, what) in
        [("", "hang"), ("POST / HTTP/1.1\r\nX: ", "send half a head"), (half, "or body")]
    {
        hanging.extend(hang(vpc.endpoint, SEATS, sent));
        answers_in_time(&vpc, what);
    }
    let newest = hanging.pop().expect("some");
    for old in hanging.drain(..SEATS) {
        assert_eq!(rest(old, BOUND), "", "it had to leave");
    }
    newest.set_nonblocking(true).expect("set");
    let still = (&newest).read(&mut [0; 1]).expect_err("nothing to read yet");
    assert_eq!(still.kind(), std::io::ErrorKind::WouldBlock, "the newest stays");
    ask_again();
}

#[test]
fn clients_that_send_too_much_stop_nobody() {
    let vpc = Vpc::start(&["--records-only"]);
    let huge = format!(
        "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        MAX_BODY + 1
    );
    let mut streams = hang(vpc.endpoint, 8, &huge);
    for stream in &mut streams {
        // The server may refuse before the end.
        let _refused = stream.write_all(&vec![b'a'; MAX_BODY + 1]);
    }
    answers_in_time(&vpc, "send bodies of more than a mebibyte");
    for stream in streams {
        let answer = rest(stream, BODY_TIMEOUT);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 413"), "{answer}");
    }

    let many: String = (0..20_001).map(|n| format!("&A.{n}=x")).collect();
    let answer = exchange(vpc.endpoint, &post(&format!("Action=DescribeVpcs{many}")));
    let answer = answer.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert!(answer.contains("more than 20000 parameters"), "{answer}");
    let deep = format!("Action=DescribeVpcs&{}=x", ["A"; 40].join("."));
    let answer = exchange(vpc.endpoint, &post(&deep)).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    let heads = format!("GET /healthz HTTP/1.1\r\n{}\r\n", "X-A: b\r\n".repeat(20_000));
    let answer = rest(hang(vpc.endpoint, 1, &heads).pop().expect("one"), BODY_TIMEOUT);
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    answers_in_time(&vpc, "sent all that");
}

#[test]
fn a_client_that_never_stops_stops_nobody() {
    let vpc = Vpc::start(&["--records-only"]);
    let request = post("Action=DescribeRegions").replace("Connection: close\r\n", "");
    let deadline = Instant::now() + Duration::from_secs(2);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut stream = TcpStream::connect(vpc.endpoint).expect("connect");
                let mut bytes = vec![0; 1 << 16];
                while Instant::now() < deadline {
                    stream.write_all(request.as_bytes()).expect("send");
                    assert_ne!(stream.read(&mut bytes).expect("an answer"), 0, "kept alive");
                }
            });
        }
        for _ in 0..10 {
            answers_in_time(&vpc, "ask without an end");
            std::thread::sleep(Duration::from_millis(100));
        }
    });
}

/// Inside a VPC, where metadata and DNS are: an instance that holds all the connections that it can
/// get does not keep another from its own.
#[test]
fn an_instance_that_hangs_stops_no_other() {
    let vpc = Vpc::start(&[]);
    let id = vpc.ask("CreateVpc&CidrBlock=10.0.0.0/16", "vpcId");
    let subnet = vpc.ask(&format!("CreateSubnet&VpcId={id}&CidrBlock=10.0.1.0/24"), "subnetId");
    let instance = || {
        let run = "RunInstances&ImageId=ami-1&InstanceType=m5.large&MinCount=1&MaxCount=1";
        vpc.ask(&format!("{run}&SubnetId={subnet}"), "instanceId")
    };
    let (bad, good) = (instance(), instance());
    let services: [(SocketAddr, &str, usize); 3] = [
        (([169, 254, 169, 254], 80).into(), "GET /latest/", 64),
        (([169, 254, 169, 253], 53).into(), "\0", 16),
        (([169, 254, 169, 250], 4566).into(), "POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\n", 64),
    ];
    let held = vpc.inside(&bad, || {
        services.map(|(to, sent, most)| {
            let streams = hang(to, most, sent);
            let over = TcpStream::connect(to).expect("accepted, to be closed");
            assert_eq!(rest(over, BOUND), "", "{to}: connection {} is closed at once", most + 1);
            streams
        })
    });
    vpc.inside(&good, || {
        let start = Instant::now();
        let answer = metadata("GET", "meta-data/local-ipv4", "");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        let api = SocketAddr::from(([169, 254, 169, 250], 4566));
        let answer = exchange(api, &post("Action=DescribeVpcs")).expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        // Who 10.0.1.4 is, by TCP: header, one question, PTR.
        let name = b"\x014\x011\x010\x0210\x07in-addr\x04arpa\0\0\x0c\0\x01";
        let question = [&[0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0][..], name].concat();
        let to = SocketAddr::from(([169, 254, 169, 253], 53));
        let mut dns = TcpStream::connect(to).expect("connect");
        dns.set_read_timeout(Some(BOUND)).expect("a timeout");
        dns.write_all(&[&(question.len() as u16).to_be_bytes()[..], &question].concat())
            .expect("send");
        let mut head = [0; 6];
        dns.read_exact(&mut head).expect("an answer");
        assert_eq!((&head[2..4], head[4] & 0x80), (&[0, 7][..], 0x80), "an answer to it");
        assert!(start.elapsed() < BOUND, "{:?}", start.elapsed());
    });
    drop(held);
    answers_in_time(&vpc, "hang inside");
}
