//! Connections that carry much.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Sends that many MiB by one end and expects them at the other, with no pause of more than 5 s.
pub fn carries(mut near: TcpStream, mut far: TcpStream, mebibytes: u32) {
    let bytes: Vec<u8> = (0..mebibytes << 20).map(|n| (n / 7) as u8).collect();
    far.set_read_timeout(Some(Duration::from_secs(5))).expect("timeout");
    let got = std::thread::scope(|scope| {
        let reader = scope.spawn(move || {
            let mut got = Vec::new();
            far.read_to_end(&mut got).map(|_| got)
        });
        near.write_all(&bytes).expect("send");
        drop(near);
        reader.join().expect("reader").expect("receive")
    });
    assert!(got == bytes, "{mebibytes} MiB arrive unchanged");
}
